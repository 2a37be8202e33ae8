// Package notify tells others what happened to builds: it reads stored events by
// cursor and sends notices to targets as CloudEvents, mail and chat messages.
//
// It does not decide who may have targets, and keeps nothing itself: what is on
// its way, and how far events were read, is the store's.
//
// Invariant: for each event that a target's filter lets through, a delivery is
// stored in the transaction that moves the target's cursor over it, and a
// delivery is pending until an attempt succeeded or it was given up. So every
// notice goes out at least once, whenever the process is killed.
package notify

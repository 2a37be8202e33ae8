// Package executortest holds the conformance suite that every executor passes on
// the real thing (Run), and Script, an executor without processes for the tests
// of those who use one.
//
// It does not hold anything that runs in the product.
//
// Invariant: Script finds or does, replays and loses exactly as Run demands of
// the real ones, so that a test on Script means something for them.
package executortest

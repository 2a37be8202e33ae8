// Package auth finds out who is asking: it makes tokens, and it knows the user
// and the rights behind one.
//
// It does not decide what a user may do (app does) and does not keep anything
// (a Store does).
//
// Invariant: what a token consists of is known to whom it was issued and to
// nobody else; kept is only its hash.
package auth

// Package blob keeps big bytes by key: artifacts, caches and sealed logs.
//
// It owns how they lie in a folder, how they get there atomically and how damage
// is noticed. It does not own what the keys mean nor how long anything is kept.
//
// Invariant: a reader is never handed a byte that is not the byte that was put;
// it gets an error wrapping ci.ErrInvalid instead.
package blob

// Package identity gives builds an identity: a token for the server's own API,
// and as an OpenID Connect issuer signed tokens that say which build this is.
//
// It owns the keys, how tokens are made and what they say. It does not own who may
// have one (app does).
//
// Invariant: a token of a build is good while the build runs and its project
// grants one, and never longer.
package identity

// Package app is the front desk: every operation that a user may ask for. It
// looks at who asks (ci.UserFrom), whether he may, and whether what he asks for
// makes sense; then it has the engine or the store do it.
//
// It does not speak any protocol and keeps nothing itself. All faces (API, web)
// translate to it and hold no rules of their own.
//
// Invariant: nothing is read or changed for a user before can said yes, and what
// a user may not see does not exist for him.
package app

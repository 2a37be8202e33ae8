// Package oidc asks an OpenID provider who somebody is.
//
// It does not know users (app does) and keeps nothing: what a login takes between
// its beginning and its end is a Flow, which somebody else keeps.
//
// Invariant: who comes out of Finish was said by the provider to this server, in
// answer to the Begin that made the flow, and to nobody in between.
package oidc

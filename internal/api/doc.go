// Package api is the native API: JSON over HTTP under /api/v1, described by the
// OpenAPI document that it serves.
//
// It translates: requests into calls of app, answers and errors into JSON. It
// holds no rule of its own but those of the protocol: sizes, times, formats, who
// a token belongs to.
//
// Invariant: nothing a client sends makes it answer 500; what goes wrong inside
// is shown as an incident number and nothing else.
package api

// Package client speaks the API of a Sluice server: `GET /api/v1/openapi.json`
// on the server is its description.
//
// It owns the types of the wire and how a broken connection is taken up again.
// It decides nothing: what may be done, and what a request lacks, the server says.
//
// Invariant: what a stream (Log, StepLog, Events) hands out is what the server
// has, each byte and each event once and in order, however often the connection
// broke on the way.
package client

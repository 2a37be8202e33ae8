// Package logs keeps the output of steps in files: it appends, masks, indexes,
// follows and seals. It implements ci.Logs.
//
// It owns two files for every step, the masked output and its index. It does not
// own the raw output (the sandbox keeps that until the step is sealed) and it
// does not know who reads.
//
// Invariant: what is in the log up to the last index record is exactly what
// masking the raw output up to that record's raw offset gives, however often the
// writer was killed on the way; and no byte reaches a file before it was masked.
package logs

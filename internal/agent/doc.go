// Package agent is what stands inside every sandbox and does there what the
// host asks for: it starts scripts, keeps their output, carries shell state from
// one to the next, opens terminals, and packs and unpacks files. It is the one
// implementation of the inner half of ci.Sandbox and of ci.Process, for all
// executors, and it holds the client that speaks to it.
//
// It does not make the sandbox (namespaces, containers and limits are the
// executors') and knows nothing of builds or plans.
//
// Invariant: one step ID is started at most once in an agent's life, and nothing
// that an agent started outlives it.
package agent

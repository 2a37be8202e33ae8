// Package local runs jobs on this machine without an engine: in a sandbox made
// of namespaces, in gVisor, or as plain processes.
//
// It owns the sandbox folder, the namespaces and mounts, the limits (cgroups),
// what of the host a build may see, and what this machine allows at all (Probe).
// It does not start commands or move files: the agent that is the first process
// of every sandbox does. It does not choose runtimes either; it only lists those
// that the host has.
//
// Invariant: a folder below Config.Root that its lock's holder does not find
// answered by a living agent belongs to nobody, and is removed with all
// processes, mounts and cgroups of it before another takes its place.
package local

// Package docker runs jobs in containers, through the Docker Engine API 1.40 and
// later: Docker Engine from 19.03 on, and Podman's compatible socket.
//
// It owns the container of a job: its image (pulled, or built from a
// Dockerfile), its limits, its network, its end. What happens inside is the
// agent's, which is the container's first process: the sluice binary, put in
// with a bind mount where the engine shares our file system, and copied in
// where it does not. In the first case a step costs no call to the engine at
// all, as the agent's socket is in a shared directory; in the second it is an
// exec of `sluice agent connect`.
//
// It does not know what a build is, keeps no state but the container's own
// labels, and stores no secret anywhere.
//
// Invariant: the container's name is a function of the job's ID, so that two
// Opens of one job meet at the engine, and a container that ended is never
// given out again.
package docker

//go:build !embedagent

package embedded

var (
	program []byte
	sum     string
)

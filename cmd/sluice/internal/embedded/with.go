//go:build embedagent

package embedded

import _ "embed"

//go:embed agent
var program []byte

//go:embed agent.sum
var sum string

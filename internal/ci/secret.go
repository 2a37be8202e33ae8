package ci

import (
	"fmt"
	"time"
)

// Secret is what a server may tell of a value that it keeps for builds.
type Secret struct {
	ID          string    `json:"-"`                 // of its own: one made anew under an old name is another
	Project     string    `json:"project,omitempty"` // whose it is; "" = a global one
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Projects    []string  `json:"projects,omitempty"` // of a global one: who may use it; AllProjects = everybody
	Version     int64     `json:"version"`            // number of the newest
	Created     time.Time `json:"created"`
	Updated     time.Time `json:"updated"`
}

// AllProjects, among the projects of a global secret, stands for all of them.
const AllProjects = "*"

// ForProject says whether builds of a project may use the secret.
func (s Secret) ForProject(project string) bool {
	if s.Project != "" {
		return s.Project == project
	}
	for _, p := range s.Projects {
		if p == project || p == AllProjects {
			return true
		}
	}
	return false
}

// SecretVersion is one value that a secret has or had, sealed. Its first three
// fields say whose it is, and are no part of what is told of it.
type SecretVersion struct {
	Secret  string    `json:"-"` // ID
	Project string    `json:"-"`
	Name    string    `json:"-"`
	Number  int64     `json:"number"` // from 1
	Key     string    `json:"key"`    // ID of the master key that it is sealed under
	By      string    `json:"by"`     // who set it
	Created time.Time `json:"created"`
	Sealed  []byte    `json:"-"`
}

// SecretKey is what is known of a master key: never the key.
type SecretKey struct {
	ID      string    `json:"id"` // made from the key, and telling nothing of it
	Created time.Time `json:"created"`
	Values  int64     `json:"values"` // that are sealed under it
}

// KeyRotation is what a rotation of the master key did.
type KeyRotation struct {
	Key      string      `json:"key"`      // ID of the key that values are sealed under now
	Resealed int         `json:"resealed"` // versions
	Keys     []SecretKey `json:"keys"`     // that there are
}

// SecretUse says that a build was given a secret.
type SecretUse struct {
	Build   BuildID
	Source  string // where it is from: project, global, or a further source
	Ref     string // how the build named it
	Secret  string // ID, of one that the server keeps
	Version int64  // the same; 0 = not known
	Time    time.Time
}

// Further sources of secrets. A project may use those that it was granted.
const (
	SourceServer = "server" // what the user who runs the server keeps on its machine
	SourceAWS    = "aws"    // Parameter Store and Secrets Manager, with the server's credentials
	SourceVault  = "vault"  // HashiCorp Vault, with the server's credentials
)

// SecretSources lists the further sources, in the order in which they are asked.
func SecretSources() []string { return []string{SourceServer, SourceAWS, SourceVault} }

const maxSecretName = 512

// CheckSecretName refuses names that AWS would not take, because definitions name
// secrets in AWS's way: what stands behind a colon is a key or a version.
func CheckSecretName(name string) error {
	ok := name != "" && len(name) <= maxSecretName
	for i := range len(name) {
		c := name[i]
		switch {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z':
		case c == '/' || c == '_' || c == '-' || c == '.' || i > 0 && (c == '+' || c == '=' || c == '@'):
		default:
			ok = false
		}
	}
	if !ok {
		return fmt.Errorf("secret name %.100q: want 1 to %d letters, digits and '/_-.+=@', not beginning with one of the last three: %w", name, maxSecretName, ErrInvalid)
	}
	return nil
}

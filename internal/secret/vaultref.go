package secret

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// VaultPrefix begins a reference to HashiCorp Vault.
const VaultPrefix = "vault:"

// VaultRef is a reference to Vault, vault:PATH#KEY@VERSION.
type VaultRef struct {
	Path    string // with the mount: secret/app/db, without the "data" of its API
	Key     string // "" = all of them, as JSON
	Version int64  // 0 = the newest
}

const maxVaultRef = 1024

// ParseVaultRef reads one. Nothing of it can leave the path: it becomes part of a URL.
func ParseVaultRef(ref string) (VaultRef, error) {
	bad := func(format string, args ...any) (VaultRef, error) {
		return VaultRef{}, fmt.Errorf("vault reference %.200q: %s: %w", ref, fmt.Sprintf(format, args...), ci.ErrInvalid)
	}
	rest, ok := strings.CutPrefix(ref, VaultPrefix)
	if !ok || len(ref) > maxVaultRef {
		return bad("want vault:PATH#KEY@VERSION, at most %d bytes", maxVaultRef)
	}
	var r VaultRef
	var key string
	var hasKey bool
	r.Path, key, hasKey = strings.Cut(rest, "#")
	if hasKey {
		if i := strings.LastIndexByte(key, '@'); i >= 0 {
			n, err := strconv.ParseInt(key[i+1:], 10, 64)
			if err != nil || n < 1 {
				return bad("behind @ stands the number of a version, from 1 on")
			}
			key, r.Version = key[:i], n
		}
		if key == "" {
			return bad("behind # stands a key")
		}
		r.Key = key
	}
	segments := strings.Split(r.Path, "/")
	if len(segments) < 2 {
		return bad("want a mount and a path below it, such as vault:secret/app/db#password")
	}
	for _, s := range segments {
		if s == "" || s == "." || s == ".." || strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c == 0x7f || strings.ContainsRune("?%+*\\", c) }) {
			return bad("the path has an empty, '.' or '..' part, or a character that has a meaning of its own there")
		}
	}
	if strings.ContainsFunc(r.Key, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return bad("the key holds a control character")
	}
	return r, nil
}

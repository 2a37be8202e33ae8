package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// prefix is what all tokens begin with, so that scanners for leaked secrets know them.
const prefix = "slu_"

const (
	secretBytes = 32
	base62      = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	// textLen is the digits that any 32 bytes need at base 62.
	textLen = 43
)

// newSecret makes the text of a token: 256 bits of chance.
func newSecret() string {
	var raw [secretBytes]byte
	_, _ = rand.Read(raw[:]) // crypto/rand.Read never fails since Go 1.24
	return prefix + encode(raw[:])
}

func encode(raw []byte) string {
	n, base, digit := new(big.Int).SetBytes(raw), big.NewInt(int64(len(base62))), new(big.Int)
	out := make([]byte, textLen)
	for i := len(out) - 1; i >= 0; i-- {
		n.DivMod(n, base, digit)
		out[i] = base62[digit.Int64()]
	}
	return string(out)
}

// wellFormed says whether text could be a token. It saves looking up rubbish.
func wellFormed(text string) bool {
	digits, ok := strings.CutPrefix(text, prefix)
	if !ok || len(digits) != textLen {
		return false
	}
	for i := range len(digits) {
		if strings.IndexByte(base62, digits[i]) < 0 {
			return false
		}
	}
	return true
}

// hash is what is kept of a token. The text is pure chance, so that a plain
// SHA-256 cannot be guessed backwards.
func hash(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

func sameHash(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// Scopes of tokens. Several of one kind let each of them through.
const (
	scopeRole    = "role:"    // no more than this role may: "role:viewer"
	scopeProject = "project:" // nothing outside this project: "project:web"
)

// CheckScopes refuses scopes that mean nothing.
func (*Auth) CheckScopes(scopes []string) error {
	for _, s := range scopes {
		if role, ok := strings.CutPrefix(s, scopeRole); ok && ci.Role(role).Known() {
			continue
		}
		if name, ok := strings.CutPrefix(s, scopeProject); ok && ci.CheckProjectName(name) == nil {
			continue
		}
		return fmt.Errorf("token scope %.200q: want role:ROLE, with viewer, builder, maintainer or admin, or project:NAME: %w", s, ci.ErrInvalid)
	}
	return nil
}

// Within says whether a token with the scopes lets nothing through that one with
// the scopes of would not, whoever's they are.
func (*Auth) Within(scopes, of []string) bool {
	less, more := reachOf(scopes), reachOf(of)
	if !more.role.AtLeast(less.role) {
		return false
	}
	if more.projects == nil {
		return true
	}
	outside := func(name string) bool { return !slices.Contains(more.projects, name) }
	return less.projects != nil && !slices.ContainsFunc(less.projects, outside)
}

// reach is what scopes leave of the rights of a user.
type reach struct {
	role     ci.Role  // no more than this one may
	projects []string // nothing outside of these; nil = all
}

// reachOf reads scopes. With one that means nothing here nothing is left: it may
// come from a newer sluice.
func reachOf(scopes []string) reach {
	r := reach{role: ci.RoleAdmin}
	roles, unknown := false, false
	for _, s := range scopes {
		role, isRole := strings.CutPrefix(s, scopeRole)
		name, isProject := strings.CutPrefix(s, scopeProject)
		switch {
		case isRole:
			if given := ci.Role(role); !roles || given.AtLeast(r.role) {
				r.role = given
			}
			roles = true
		case isProject:
			r.projects = append(r.projects, name)
		default:
			unknown = true
		}
	}
	if unknown {
		r.role = ci.RoleNone
	}
	return r
}

// narrow is the user as far as the scopes let him.
func narrow(u ci.User, scopes []string) ci.User {
	r := reachOf(scopes)
	if r.projects != nil {
		u.Only = append(slices.Clone(u.Only), r.projects...)
	}
	if r.role == ci.RoleAdmin {
		return u
	}
	u.Role = lesser(u.Role, r.role)
	projects := make(map[string]ci.Role, len(u.Projects))
	for name, own := range u.Projects {
		projects[name] = lesser(own, r.role)
	}
	u.Projects = projects
	return u
}

func lesser(a, b ci.Role) ci.Role {
	if a.AtLeast(b) {
		return b
	}
	return a
}

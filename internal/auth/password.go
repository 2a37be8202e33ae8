package auth

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"

	"github.com/sluice-ci/sluice/internal/ci"
)

// cost is what a guess at a password costs.
type cost struct {
	memory  uint32 // KiB
	time    uint32
	threads uint8
}

// newCost is of the passwords that are stored today: what OWASP asks for, 19 MiB
// and two passes. Those stored with another cost are stored anew at their next login.
func newCost() cost { return cost{memory: 19 << 10, time: 2, threads: 1} }

const (
	saltBytes = 16
	hashBytes = 32
	// hashesAtOnce bounds the memory that logins take together.
	hashesAtOnce = 4
	// Beyond these a stored hash is not believed: it would take the server down.
	maxMemory, maxTime, maxThreads = 1 << 20, 64, 64
)

// Limits of a password. It is hashed whole, so that there is no reason for
// another upper limit than the size of a request.
const (
	minPassword = 8
	maxPassword = 1024
)

// CheckPassword says what is wrong with a new password of a user.
func (*Auth) CheckPassword(user, password string) error {
	switch n := utf8.RuneCountInString(password); {
	case !utf8.ValidString(password):
		return fmt.Errorf("password: want text in UTF-8: %w", ci.ErrInvalid)
	case n < minPassword || len(password) > maxPassword:
		return fmt.Errorf("password: want %d to %d characters: %w", minPassword, maxPassword, ci.ErrInvalid)
	case strings.EqualFold(password, user):
		return fmt.Errorf("password: want another one than the name of the user: %w", ci.ErrInvalid)
	case strings.Count(password, password[:1]) == len(password):
		return fmt.Errorf("password: want more than one character again and again: %w", ci.ErrInvalid)
	}
	return nil
}

// phc is a hash of a password as it is stored, with all that it takes to check
// one: $argon2id$v=19$m=19456,t=2,p=1$SALT$HASH.
type phc struct {
	cost
	salt, hash []byte
}

func (p phc) String() string {
	text := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.time, p.threads, text(p.salt), text(p.hash))
}

// parsePHC reads what String wrote, and nothing else.
func parsePHC(text string) (p phc, err error) {
	bad := fmt.Errorf("a stored password is not one of argon2id: %w", ci.ErrInvalid)
	parts := strings.Split(text, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return phc{}, bad
	}
	numbers := strings.Split(parts[3], ",")
	if len(numbers) != 3 {
		return phc{}, bad
	}
	var values [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		n, ok := strings.CutPrefix(numbers[i], name)
		most := []uint64{maxMemory, maxTime, maxThreads}[i]
		if values[i], err = strconv.ParseUint(n, 10, 32); !ok || err != nil || values[i] < 1 || values[i] > most {
			return phc{}, bad
		}
	}
	p.cost = cost{memory: uint32(values[0]), time: uint32(values[1]), threads: uint8(values[2])}
	var err2 error
	p.salt, err = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	p.hash, err2 = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err != nil || err2 != nil || len(p.salt) < 8 || len(p.salt) > 64 || len(p.hash) < 16 || len(p.hash) > 64 || p.String() != text {
		return phc{}, bad
	}
	return p, nil
}

// HashPassword makes what is stored of a password.
func (a *Auth) HashPassword(ctx context.Context, password string) (string, error) {
	p := phc{cost: a.cost, salt: make([]byte, saltBytes), hash: make([]byte, hashBytes)}
	_, _ = rand.Read(p.salt) // crypto/rand.Read never fails since Go 1.24
	var err error
	p.hash, err = a.argon2(ctx, password, p)
	return p.String(), err
}

// argon2 computes the hash of a password with the cost, salt and length of p.
func (a *Auth) argon2(ctx context.Context, password string, p phc) ([]byte, error) {
	select {
	case a.hashing <- struct{}{}:
		defer func() { <-a.hashing }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	return argon2.IDKey([]byte(password), p.salt, p.time, p.memory, p.threads, uint32(len(p.hash))), nil
}

// verify says whether a password is the stored one. It takes as long when there
// is none, or none that can be read.
func (a *Auth) verify(ctx context.Context, stored, password string) (ok bool, err error) {
	p, bad := parsePHC(stored)
	if bad != nil {
		p = phc{cost: a.cost, salt: make([]byte, saltBytes), hash: make([]byte, hashBytes)}
	}
	sum, err := a.argon2(ctx, password, p)
	return err == nil && bad == nil && subtle.ConstantTimeCompare(sum, p.hash) == 1, err
}

// dated says whether a stored password is not as a new one would be.
func (a *Auth) dated(stored string) bool {
	p, err := parsePHC(stored)
	return err != nil || p.cost != a.cost || len(p.salt) != saltBytes || len(p.hash) != hashBytes
}

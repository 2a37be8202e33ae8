package logs

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

const (
	logSuffix    = ".log"
	indexSuffix  = ".idx"
	packedSuffix = ".zst"
	maxSegment   = 200 // bytes of a file name we make, suffix apart
)

// base is the path of a step's files without their suffix. Steps keep their
// readable path; what could leave the directory or meet another file's name is escaped.
func (s *Store) base(step ci.StepID) (string, error) {
	parts := strings.Split(string(step), "/")
	for i, p := range parts {
		if p == "" || strings.ContainsRune(p, 0) {
			return "", fmt.Errorf("log of step %q: a step ID is names with slashes between: %w", step, ci.ErrInvalid)
		}
		parts[i] = escape(p)
	}
	return filepath.Join(append([]string{s.dir}, parts...)...), nil
}

// escape makes a file name of a path segment; different segments get different names.
func escape(seg string) string {
	var b strings.Builder
	for i := range len(seg) {
		c := seg[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-', c == '~', c == '#':
			b.WriteByte(c)
		case c == '.' && i > 0 && seg[i:] != logSuffix && seg[i:] != indexSuffix && seg[i:] != packedSuffix:
			b.WriteByte(c)
		default:
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	if b.Len() <= maxSegment {
		return b.String()
	}
	sum := sha256.Sum256([]byte(seg))
	return b.String()[:maxSegment-33] + "%" + hex.EncodeToString(sum[:16])
}

package blob

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

const (
	maxKey  = 1024 // what S3 takes, so that a store can be moved there
	maxName = 255  // what file systems take for one component
	suffix  = ".blob"
)

// CheckKey refuses keys that are not slash paths of ordinary components.
func CheckKey(key string) error {
	switch {
	case key == "":
		return fmt.Errorf("blob key is empty: %w", ci.ErrInvalid)
	case len(key) > maxKey:
		return fmt.Errorf("blob key %.40q... has %d bytes, at most %d fit: %w", key, len(key), maxKey, ci.ErrInvalid)
	}
	for name := range strings.SplitSeq(key, "/") {
		if name == "" || name == "." || name == ".." {
			return fmt.Errorf("blob key %q: a component is %q: %w", key, name, ci.ErrInvalid)
		}
		for i := range len(name) {
			if c := name[i]; c < 0x20 || c == 0x7f || c == '\\' {
				return fmt.Errorf("blob key %q: character %q is not allowed: %w", key, c, ci.ErrInvalid)
			}
		}
		if len(encode(name))+len(suffix) > maxName {
			return fmt.Errorf("blob key %.40q...: the component %.40q... is too long: %w", key, name, ci.ErrInvalid)
		}
	}
	return nil
}

// encode makes a file name of one component. The name of a directory never ends
// in the suffix and that of a blob always does, so "a" and "a/b" can both exist.
func encode(name string) string {
	name = strings.ReplaceAll(name, "%", "%25")
	if strings.HasSuffix(name, suffix) {
		name = name[:len(name)-1] + "%62"
	}
	return name
}

// decode undoes encode; false for a name that encode does not make.
func decode(file string) (string, bool) {
	name := file
	if strings.HasSuffix(name, "%62") {
		name = name[:len(name)-3] + "b"
	}
	name = strings.ReplaceAll(name, "%25", "%")
	return name, name != "" && encode(name) == file
}

// place is the file of a key, relative to the folder of the blobs.
func place(key string) string {
	names := strings.Split(key, "/")
	for i := range names {
		names[i] = encode(names[i])
	}
	return filepath.Join(names...) + suffix
}

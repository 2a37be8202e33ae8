package ci

import (
	"fmt"
	"net/url"
	"strings"
)

// BlobsOfBuilds is what the keys of all blobs of builds begin with.
const BlobsOfBuilds = "builds/"

// Blobs is what the keys of all blobs of a build begin with, but for a slash.
func (id BuildID) Blobs() string { return BlobsOfBuilds + string(id) }

// LogBlob is the key of a step's log, where it is kept in the blobs.
func (s StepID) LogBlob() string {
	job := s.Job()
	return BlobsOfBuilds + BlobName(string(job)+"/logs"+strings.TrimPrefix(string(s), string(job)))
}

// BlobName makes a key, or a part of one, of a slash path that somebody gave: what
// keys cannot hold is written as %XX. Different paths give different keys.
func BlobName(path string) string {
	var b strings.Builder
	for i := range len(path) {
		if c := path[i]; c < 0x20 || c == 0x7f || c == '\\' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// BlobPath undoes BlobName.
func BlobPath(name string) string {
	path, err := url.PathUnescape(name)
	if err != nil {
		return name // BlobName did not make it
	}
	return path
}

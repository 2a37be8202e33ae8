package ci

import "time"

// ImageInfo is what a container engine knows of an image that it has.
type ImageInfo struct {
	ID      string            `json:"id"`
	Digest  string            `json:"digest,omitempty"` // the registry's, where it came from one
	Size    int64             `json:"size"`             // bytes, unpacked
	Created time.Time         `json:"created,omitzero"`
	Labels  map[string]string `json:"labels,omitempty"`
}

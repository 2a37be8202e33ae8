package main

import (
	"fmt"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

const gib = 1 << 30

// size is what a compute type gives a build.
type size struct {
	cpus   float64
	memory int64
}

// computeSize gives the limits of a runtime's compute type, CodeBuild's (its
// names as the API has them, or their last part alone); zero for none.
func computeSize(r ci.Runtime) (cpus float64, memory int64, err error) {
	if r.Size == "" {
		return 0, 0, nil
	}
	name := strings.ToUpper(strings.TrimSpace(r.Size))
	kind := strings.ToUpper(r.Type)
	sizes := map[string]size{"SMALL": {2, 4 * gib}, "MEDIUM": {4, 8 * gib}, "LARGE": {8, 16 * gib}, "XLARGE": {36, 72 * gib}, "2XLARGE": {72, 144 * gib}}
	switch {
	case strings.HasPrefix(kind, "ARM"):
		sizes["XLARGE"], sizes["2XLARGE"] = size{32, 64 * gib}, size{48, 96 * gib}
	case strings.Contains(kind, "GPU"):
		sizes = map[string]size{"SMALL": {4, 16 * gib}, "LARGE": {32, 255 * gib}}
	}
	if rest, ok := strings.CutPrefix(name, "BUILD_LAMBDA_"); ok {
		for _, n := range []int64{1, 2, 4, 8, 10} {
			if rest == fmt.Sprintf("%dGB", n) {
				return 0, n * gib, nil
			}
		}
	}
	s, ok := sizes[strings.TrimPrefix(name, "BUILD_GENERAL1_")]
	if !ok {
		return 0, 0, fmt.Errorf("size %q is no compute type: want BUILD_GENERAL1_SMALL, _MEDIUM, _LARGE, _XLARGE or _2XLARGE, or BUILD_LAMBDA_1GB to _10GB: %w", r.Size, ci.ErrInvalid)
	}
	return s.cpus, s.memory, nil
}

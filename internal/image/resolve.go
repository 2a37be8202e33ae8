package image

import (
	"strings"
)

// Names of the prepackaged environments.
const (
	Standard = "sluice/standard"
	Minimal  = "sluice/minimal"
)

// Resolve gives the image that a name stands for. CodeBuild's curated images are
// not to be had outside of it; a note then says what is used instead. Any other
// name is itself.
func Resolve(name string) (ref, note string) {
	curated, ok := curatedName(name)
	if !ok {
		return name, ""
	}
	if strings.Contains(curated, "windows") || strings.HasPrefix(curated, "macos") || strings.Contains(curated, "mac-arm") {
		return Standard, name + " is not a Linux image and cannot be had here; " + Standard + " (Debian 12) stands in for it, and commands for another system will fail"
	}
	return Standard, name + " cannot be had outside CodeBuild; " + Standard + " (Debian 12) stands in for it. Its versions of runtimes differ: see 'sluice env show " + Standard + "'"
}

// Curated says whether a name is one of CodeBuild's own images.
func Curated(name string) bool {
	_, ok := curatedName(name)
	return ok
}

// curatedName gives the part of a curated image's name that says which it is:
// "standard:7.0". Both ways of naming them are known, the one of the console
// (aws/codebuild/...) and the one of the public registry.
func curatedName(name string) (string, bool) {
	rest := name
	if r, ok := strings.CutPrefix(rest, "public.ecr.aws/"); ok {
		rest = r
		if r, ok := strings.CutPrefix(rest, "codebuild/"); ok {
			return r, true
		}
	}
	if r, ok := strings.CutPrefix(rest, "docker.io/"); ok {
		rest = r
	}
	return strings.CutPrefix(rest, "aws/codebuild/")
}

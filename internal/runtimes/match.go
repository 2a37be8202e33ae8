package runtimes

import (
	"slices"
	"strconv"
	"strings"
)

// match finds the version that a wanted one names, and a note when it is not
// the very same: in the order exact, latest, wildcard, another vendor's JDK,
// and last the commands for versions that are not listed.
func (r *Runtime) match(wanted string) (v Version, note string, ok bool) {
	for _, v := range r.Versions {
		if v.Name == wanted {
			return v, "", true
		}
	}
	if wanted == "latest" {
		if v := r.newest(func(Version) bool { return true }); v != nil {
			return *v, "", true
		}
		return Version{}, "", false
	}
	if prefix, wild := strings.CutSuffix(wanted, ".x"); wild {
		v := r.newest(func(v Version) bool {
			return v.Name == prefix || strings.HasPrefix(v.Name, prefix+".")
		})
		if v != nil {
			return *v, "", true
		}
		if other, note := r.otherVendor(prefix); other != nil {
			return *other, note, true
		}
		return Version{}, "", false
	}
	if other, note := r.otherVendor(wanted); other != nil {
		return *other, note, true
	}
	if r.Default != nil && plain(wanted) && strings.ContainsAny(wanted, "0123456789") {
		return r.custom(wanted), "", true
	}
	return Version{}, "", false
}

// otherVendor finds a JDK of the same number for openjdkN and correttoN: what a
// build needs of it is the language level, and an image has one vendor's.
func (r *Runtime) otherVendor(wanted string) (*Version, string) {
	vendor, number := vendorSplit(wanted)
	if vendor != "openjdk" && vendor != "corretto" {
		return nil, ""
	}
	for i, v := range r.Versions {
		if _, n := vendorSplit(v.Name); n == number {
			return &r.Versions[i], r.Name + ": '" + wanted + "' is not in this image; '" + v.Name + "' stands in for it (same Java version, another vendor)"
		}
	}
	return nil, ""
}

// vendorSplit parts "corretto17" into "corretto" and "17".
func vendorSplit(s string) (vendor, number string) {
	i := strings.IndexAny(s, "0123456789")
	if i < 0 {
		return s, ""
	}
	return s[:i], s[i:]
}

// custom fills a version into the commands for versions that are not listed. It
// is put in as text, so that no variable named VERSION is left in the build.
func (r *Runtime) custom(version string) Version {
	v := Version{Name: version, Requires: r.Default.Requires}
	_, number := vendorSplit(version) // the images' commands want 21 of corretto21
	for _, c := range r.Default.Commands {
		v.Commands = append(v.Commands, replaceVersion(c, number))
	}
	return v
}

// replaceVersion replaces $VERSION and ${VERSION}, but not $VERSION_ID.
func replaceVersion(command, version string) string {
	var out strings.Builder
	for {
		i := strings.IndexByte(command, '$')
		if i < 0 {
			out.WriteString(command)
			return out.String()
		}
		out.WriteString(command[:i])
		command = command[i:]
		if rest, ok := strings.CutPrefix(command, "${VERSION}"); ok {
			out.WriteString(version)
			command = rest
			continue
		}
		if rest, ok := strings.CutPrefix(command, "$VERSION"); ok && (rest == "" || !nameByte(rest[0])) {
			out.WriteString(version)
			command = rest
			continue
		}
		out.WriteByte('$')
		command = command[1:]
	}
}

func nameByte(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// plain says that a version is safe to put into a shell command as it is.
func plain(version string) bool {
	if version == "" || len(version) > 64 || version[0] == '-' {
		return false
	}
	for i := range len(version) {
		if c := version[i]; !nameByte(c) && c != '.' && c != '-' {
			return false
		}
	}
	return true
}

// newest is the highest of the versions that keep accepts; nil for none.
func (r *Runtime) newest(keep func(Version) bool) *Version {
	var best *Version
	for i := range r.Versions {
		if keep(r.Versions[i]) && (best == nil || compare(r.Versions[i].Name, best.Name) > 0) {
			best = &r.Versions[i]
		}
	}
	return best
}

// names lists the versions, lowest first, as CodeBuild's message does.
func (r *Runtime) names() []string {
	out := make([]string, 0, len(r.Versions))
	for _, v := range r.Versions {
		out = append(out, v.Name)
	}
	slices.SortStableFunc(out, compare)
	return out
}

// compare orders versions by their numbers: 3.9 before 3.10, corretto8 before corretto11.
func compare(a, b string) int {
	an, bn := numbers(a), numbers(b)
	if c := slices.Compare(an, bn); c != 0 {
		return c
	}
	return strings.Compare(a, b)
}

func numbers(s string) []int {
	var out []int
	for _, part := range strings.FieldsFunc(s, func(r rune) bool { return r < '0' || r > '9' }) {
		n, err := strconv.Atoi(part)
		if err != nil { // longer than an int: beyond every real version
			n = int(^uint(0) >> 1)
		}
		out = append(out, n)
	}
	return out
}

package source

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// submodule is a repository inside a repository, at a commit.
type submodule struct {
	name, path, hash string
	r                remote
}

// submodules lists those of a commit that .gitmodules gives a URL for.
func (m *mirror) submodules(ctx context.Context, hash, file string) ([]submodule, error) {
	fi, err := os.Lstat(file)
	if err != nil || !fi.Mode().IsRegular() {
		return nil, nil // there are none
	}
	out, err := run(ctx, m.git(ctx, "config", "--file", file, "--null", "--list"))
	if err != nil {
		return nil, fmt.Errorf("read .gitmodules: %w", err)
	}
	names, urls := map[string]string{}, map[string]string{}
	for entry := range strings.SplitSeq(string(out), "\x00") {
		key, value, _ := strings.Cut(entry, "\n")
		name, ok := strings.CutPrefix(key, "submodule.")
		if !ok {
			continue
		}
		if n, ok := strings.CutSuffix(name, ".path"); ok {
			names[value] = n
		} else if n, ok := strings.CutSuffix(name, ".url"); ok {
			urls[n] = value
		}
	}
	out, err = m.run(ctx, m.git(ctx, "ls-tree", "-r", "-z", hash))
	if err != nil {
		return nil, err
	}
	var subs []submodule
	for entry := range strings.SplitSeq(string(out), "\x00") {
		info, at, _ := strings.Cut(entry, "\t")
		fields := strings.Fields(info)
		name := names[at]
		if len(fields) != 3 || fields[0] != "160000" || urls[name] == "" {
			continue
		}
		if strings.ContainsAny(name, "\n\r") {
			return nil, fmt.Errorf("submodule %q: a line break in its name: %w", name, ci.ErrInvalid)
		}
		r, err := m.beside(ctx, urls[name])
		if err != nil {
			return nil, fmt.Errorf("submodule %q: %w", name, err)
		}
		subs = append(subs, submodule{name: name, path: at, hash: fields[2], r: r})
	}
	return subs, nil
}

// beside is the repository that a submodule's URL names, which may be relative
// to ours. On the same host it is talked to with the same credentials.
func (m *mirror) beside(ctx context.Context, location string) (remote, error) {
	if strings.HasPrefix(location, "./") || strings.HasPrefix(location, "../") {
		location = relativeTo(m.r.url, location)
	}
	r, err := m.f.open(ctx, location)
	if err != nil {
		return remote{}, err
	}
	if r.local && !m.r.local {
		return remote{}, fmt.Errorf("repository location %q: a fetched repository must not name a path of this machine: %w", Redact(location), ci.ErrInvalid)
	}
	if r.settings == nil && sameHost(r.url, m.r.url) {
		r.settings, r.env = m.r.settings, m.r.env
	}
	return r, nil
}

// relativeTo follows ./ and ../ from a repository's location.
func relativeTo(base, rel string) string {
	prefix, p := "", base
	if i := strings.Index(base, "://"); i >= 0 {
		host, rest, _ := strings.Cut(base[i+3:], "/")
		prefix, p = base[:i+3]+host, "/"+rest
	} else if !strings.HasPrefix(base, "/") {
		host, rest, _ := strings.Cut(base, ":")
		prefix, p = host+":", rest
	}
	return prefix + path.Join(p, rel)
}

func sameHost(a, b string) bool {
	x, err := url.Parse(a)
	if err != nil {
		return false
	}
	y, err := url.Parse(b)
	return err == nil && x.Host != "" && x.Scheme == y.Scheme && x.Host == y.Host
}

// nested packs the submodules, each with a repository of its own in its folder.
func (m *mirror) nested(ctx context.Context, subs []submodule, t *treeWriter, name string, nesting int) error {
	if len(subs) > 0 && nesting >= maxNesting {
		return fmt.Errorf("submodules are more than %d deep: %w", maxNesting, ci.ErrInvalid)
	}
	for _, s := range subs {
		sub, err := m.f.mirrorOf(s.r, len(s.hash))
		if err == nil {
			_, err = sub.need(ctx, s.hash, "")
		}
		if err == nil {
			err = sub.checkout(ctx, ci.Commit{Hash: s.hash}, t, join(name, s.path), nesting+1)
		}
		if err != nil {
			return fmt.Errorf("submodule %q: %w", s.name, err)
		}
	}
	return nil
}

package source

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/fileset"
	"golang.org/x/sys/unix"
)

// maxPacks is how many packs a mirror may have before some are put together.
const maxPacks = 40

// mirror is a bare copy of a repository in the cache.
type mirror struct {
	f       *Fetcher
	r       remote
	dir     string
	hashLen int
}

// mirrorOf names the mirror of a repository. Repositories that name objects with
// SHA-256 have one apart: the two kinds cannot share.
func (f *Fetcher) mirrorOf(r remote, hashLen int) (*mirror, error) {
	if f.opt.Cache == "" {
		return nil, fmt.Errorf("git source: no cache folder is configured: %w", ci.ErrInvalid)
	}
	cache, err := filepath.Abs(f.opt.Cache)
	if err != nil {
		return nil, fmt.Errorf("git cache: %w", err)
	}
	sum := sha256.Sum256([]byte(r.url))
	name := hex.EncodeToString(sum[:16])
	if hashLen == 64 {
		name += "-sha256"
	}
	m := &mirror{f: f, r: r, dir: filepath.Join(cache, "git", name+".git"), hashLen: hashLen}
	if _, err := os.Stat(m.dir); err == nil {
		return m, nil
	}
	if err := m.create(); err != nil {
		return nil, fmt.Errorf("make a mirror of %s: %w", r.url, err)
	}
	return m, nil
}

// create makes an empty mirror; whole or not at all, whoever else does so too.
func (m *mirror) create() error {
	tmp, err := scratch(filepath.Dir(m.dir), "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	config := formatConfig(m.hashLen) + "\tbare = true\n[gc]\n\tauto = 0\n[fetch]\n\tunpackLimit = 1\n" +
		"[uploadpack]\n\tallowAnySHA1InWant = true\n"
	if err := skeleton(tmp, config); err != nil {
		return err
	}
	if err := os.Rename(tmp, m.dir); err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	return nil
}

func formatConfig(hashLen int) string {
	if hashLen == 64 {
		return "[extensions]\n\tobjectformat = sha256\n[core]\n\trepositoryformatversion = 1\n"
	}
	return "[core]\n\trepositoryformatversion = 0\n"
}

// skeleton makes an empty repository, as git init would.
func skeleton(dir, config string) error {
	for _, d := range []string{"objects/pack", "objects/info", "refs/heads", "refs/tags", "info"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			return err
		}
	}
	err := os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "HEAD"), []byte("ref: refs/heads/main\n"), 0o600)
	}
	return err
}

// scratch makes a folder in parent, and removes those that killed processes left there.
func scratch(parent, prefix string) (string, error) {
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", err
	}
	old, err := os.ReadDir(parent)
	if err != nil {
		return "", err
	}
	for _, e := range old {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		if fi, err := e.Info(); err == nil && time.Since(fi.ModTime()) > staleAfter {
			_ = os.RemoveAll(filepath.Join(parent, e.Name()))
		}
	}
	if err := fileset.Spread(parent); err != nil {
		return "", err
	}
	return os.MkdirTemp(parent, prefix)
}

// git is a command in the mirror, without the network.
func (m *mirror) git(ctx context.Context, args ...string) *exec.Cmd {
	cmd := m.f.git(ctx, nil, args...)
	cmd.Env = append(cmd.Env, "GIT_DIR="+m.dir)
	return cmd
}

// commit reads a commit; nil when the mirror does not have it.
func (m *mirror) commit(ctx context.Context, hash string) ([]byte, error) {
	cmd := m.git(ctx, "cat-file", "--batch")
	cmd.Stdin = strings.NewReader(hash + "^{commit}\n")
	out, err := m.run(ctx, cmd)
	if err != nil {
		return nil, err
	}
	head, body, _ := bytes.Cut(out, []byte("\n"))
	if fields := strings.Fields(string(head)); len(fields) != 3 || fields[0] != hash || fields[1] != "commit" {
		return nil, nil
	}
	return body, nil
}

// need gets the commit into the mirror, asking the network only when it is not
// there yet. ref is where it is said to be; "" = not known. A mirror that turns
// out to be damaged is made anew.
func (m *mirror) need(ctx context.Context, hash, ref string) (raw []byte, err error) {
	err = m.mended(ctx, func() error {
		raw, err = m.get(ctx, hash, ref)
		return err
	})
	return raw, err
}

func (m *mirror) get(ctx context.Context, hash, ref string) ([]byte, error) {
	raw, err := m.commit(ctx, hash)
	if raw != nil || err != nil {
		return raw, err
	}
	unlock, lock, err := m.lock(ctx, m.dir+".lock", unix.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("wait for another fetch of %s: %w", m.r.url, err)
	}
	defer unlock()
	// Somebody else may have fetched it while we waited.
	if raw, err = m.commit(ctx, hash); raw != nil || err != nil {
		return raw, err
	}
	specs := []string{"+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"}
	if rest, ok := strings.CutPrefix(ref, "refs/"); ok && !strings.HasPrefix(ref, "refs/heads/") && !strings.HasPrefix(ref, "refs/tags/") {
		specs = append(specs, "+"+ref+":refs/sluice/"+rest)
	}
	if err := m.fetch(ctx, lock, specs); err != nil {
		return nil, err
	}
	if raw, err = m.commit(ctx, hash); raw != nil || err != nil {
		return raw, err
	}
	// On no branch and no tag, or no longer: many servers give a commit by its name.
	if err := m.fetch(ctx, lock, []string{hash + ":refs/sluice/commits/" + hash}); err != nil {
		if ctx.Err() != nil || errors.Is(err, ci.ErrUnavailable) || errors.Is(err, ci.ErrDenied) {
			return nil, err
		}
		return nil, fmt.Errorf("commit %s: %s does not have it: %w", hash, m.r.url, ci.ErrNotFound)
	}
	return m.commit(ctx, hash)
}

// refresh fetches all branches and tags.
func (m *mirror) refresh(ctx context.Context) error {
	unlock, lock, err := m.lock(ctx, m.dir+".lock", unix.LOCK_EX)
	if err != nil {
		return fmt.Errorf("wait for another fetch of %s: %w", m.r.url, err)
	}
	defer unlock()
	return m.fetch(ctx, lock, []string{"+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"})
}

// fetch brings refs up to date. The lock goes to git as well: if we are killed,
// it stays held until git has ended too.
func (m *mirror) fetch(ctx context.Context, lock *os.File, specs []string) error {
	if err := m.tidy(); err != nil {
		return fmt.Errorf("tidy the mirror of %s: %w", m.r.url, unexplained(ctx, err))
	}
	args := []string{"fetch", "--quiet", "--prune", "--no-tags", "--no-auto-maintenance", "--no-write-fetch-head", "--no-recurse-submodules"}
	cmd := m.f.contact(ctx, m.r, append(append(args, m.r.options()...), append([]string{"--", m.r.url}, specs...)...)...)
	cmd.Env = append(cmd.Env, "GIT_DIR="+m.dir)
	cmd.ExtraFiles = []*os.File{lock}
	if _, err := run(ctx, cmd); err != nil {
		if !errors.Is(err, ci.ErrNotFound) { // of the remote, then
			err = unexplained(ctx, err)
		}
		return fmt.Errorf("fetch %s: %w", m.r.url, err)
	}
	return m.repack(ctx, lock)
}

// contact prepares a command that talks to the remote repository.
func (f *Fetcher) contact(ctx context.Context, r remote, args ...string) *exec.Cmd {
	settings := append([]setting{
		{"http.lowSpeedLimit", "1000"}, {"http.lowSpeedTime", "60"}, // a dead line ends, even when we are no more
		{"http.followRedirects", "initial"},
	}, r.settings...)
	cmd := f.git(ctx, settings, args...)
	cmd.Env = append(cmd.Env, "GIT_SSH_COMMAND=ssh -oBatchMode=yes -oServerAliveInterval=15 -oServerAliveCountMax=4")
	if !r.local {
		cmd.Env = append(cmd.Env, "GIT_ALLOW_PROTOCOL=git:http:https:ssh")
	}
	cmd.Env = append(cmd.Env, r.env...)
	return cmd
}

// options lets git read a local repository that belongs to another user.
func (r remote) options() []string {
	if !r.local {
		return nil
	}
	return []string{"--upload-pack=git -c safe.directory=* upload-pack"}
}

// tidy removes what a killed fetch left. Only the holder of the lock may.
func (m *mirror) tidy() error {
	var errs []error
	for _, name := range []string{"packed-refs.lock", "packed-refs.new", "HEAD.lock", "config.lock", "shallow.lock"} {
		if err := os.Remove(filepath.Join(m.dir, name)); !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	left, err := filepath.Glob(filepath.Join(m.dir, "objects/pack/*tmp_*"))
	errs = append(errs, err)
	err = filepath.WalkDir(filepath.Join(m.dir, "refs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".lock") {
			left = append(left, path)
		}
		return err
	})
	errs = append(errs, err)
	for _, path := range left {
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}

// repack puts small packs together when there are many, unless somebody is just
// reading them. Nothing is lost by it, reachable or not.
func (m *mirror) repack(ctx context.Context, lock *os.File) error {
	packs, err := filepath.Glob(filepath.Join(m.dir, "objects/pack/*.pack"))
	if err != nil || len(packs) <= maxPacks {
		return err
	}
	reading, err := os.OpenFile(m.dir+".packs", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer reading.Close()
	if unix.Flock(int(reading.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return nil // another time
	}
	cmd := m.git(ctx, "repack", "-q", "-d", "--geometric=2")
	cmd.ExtraFiles = []*os.File{lock, reading}
	if _, err := m.run(ctx, cmd); err != nil {
		return fmt.Errorf("repack the mirror of %s: %w", m.r.url, err)
	}
	return nil
}

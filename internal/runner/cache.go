package runner

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/sluice-ci/sluice/internal/ci"
)

// A cache entry is "<project>/<version>/<key>.tar.zst": the version is a hash of
// the path list, so the same key with other paths is another cache
// (codebuild.md 1.8). Without a key there is one entry, which is replaced.
func (j *job) cachePrefix() string {
	h := sha256.New()
	for _, p := range j.a.Job.Cache.Paths {
		fmt.Fprintf(h, "%s\n", p)
	}
	return url.PathEscape(j.a.Build.Project) + "/" + hex.EncodeToString(h.Sum(nil))[:16] + "/"
}

const (
	cacheEnding = ".tar.zst"
	unkeyed     = "latest"
)

// emptyKey is why a cache is not used whose key comes to nothing, such as the hash
// of files that are not there: it would be the same for all builds.
const emptyKey = "the key comes to an empty text"

var errNothing = errors.New("no files match the cache paths")

func cacheBlob(prefix, key string) string {
	if key == "" {
		key = unkeyed
	} else {
		key = "k-" + url.PathEscape(key) // apart from the entry without a key
	}
	return prefix + key + cacheEnding
}

// restoreCache brings back the cache before INSTALL. Nothing that goes wrong
// with it fails the build: a cache that cannot be read is a miss, said loudly.
func (j *job) restoreCache(ctx context.Context) error {
	spec := j.a.Job.Cache
	if spec == nil || j.r.cfg.Caches == nil || len(spec.Paths) == 0 {
		return nil
	}
	return j.action(ctx, ci.PhaseDownloadSource, "cache", "Restore the cache", func(ctx context.Context, s *ci.StepRun, log io.Writer) error {
		use := ci.CacheUse{Action: "restore", Result: "skipped", Reason: "cache action is save"}
		if spec.Restore {
			keys, err := j.expand(ctx, s.ID+"-keys", append([]string{spec.Key}, spec.Fallback...))
			if err != nil {
				use.Result, use.Reason = "miss", err.Error()
			} else {
				use.Key = keys[0]
				use.Tried = tried(keys)
				if use.Result, use.Reason = "miss", emptyKey; spec.Key == "" || keys[0] != "" {
					j.tryRestore(ctx, &use, keys)
				}
			}
		}
		s.Note = cacheText(use)
		logLine(log, "%s", s.Note)
		s.Cache = []ci.CacheUse{use}
		return ctx.Err()
	})
}

// tryRestore looks for the exact key, then for each fallback key as a prefix,
// the newest entry first, and unpacks the first that is whole.
func (j *job) tryRestore(ctx context.Context, use *ci.CacheUse, keys []string) {
	prefix := j.cachePrefix()
	candidates := []string{cacheBlob(prefix, keys[0])}
	if keys[0] != "" {
		for _, fallback := range keys[1:] {
			candidates = append(candidates, j.newest(ctx, strings.TrimSuffix(cacheBlob(prefix, fallback), cacheEnding))...)
		}
	}
	use.Result, use.Reason = "miss", "no entry with this key"
	for i, key := range candidates {
		blob, err := j.unpackCache(ctx, key)
		if errors.Is(err, ci.ErrNotFound) {
			continue
		}
		if err != nil {
			use.Result, use.Reason = "corrupt", fmt.Sprintf("entry %s cannot be used and is removed: %v", key, err)
			_ = j.r.cfg.Caches.Delete(ctx, key)
			continue
		}
		use.Result, use.Reason, use.Size, use.Hit = "hit", "", blob.Size, cacheKey(prefix, key)
		use.Tried = tried(keys[:1])
		if i > 0 {
			use.Result, use.Tried = "fallback", tried(keys)
		}
		return
	}
}

// tried are the keys that have a name.
func tried(keys []string) []string {
	return slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == "" })
}

func cacheKey(prefix, blob string) string {
	key := strings.TrimSuffix(strings.TrimPrefix(blob, prefix), cacheEnding)
	key, _ = url.PathUnescape(strings.TrimPrefix(key, "k-"))
	return key
}

// newest lists the entries that begin with prefix, the newest first.
func (j *job) newest(ctx context.Context, prefix string) []string {
	var blobs []ci.Blob
	dir := prefix[:strings.LastIndexByte(prefix, '/')+1]
	_ = j.r.cfg.Caches.List(ctx, dir, func(b ci.Blob) error { // a list that cannot be read is no list
		if strings.HasPrefix(b.Key, prefix) {
			blobs = append(blobs, b)
		}
		return nil
	})
	var keys []string
	for len(blobs) > 0 {
		last := 0
		for i, b := range blobs {
			if b.Time.After(blobs[last].Time) {
				last = i
			}
		}
		keys = append(keys, blobs[last].Key)
		blobs = append(blobs[:last], blobs[last+1:]...)
	}
	return keys
}

// unpackCache reads the entry twice: first to its end, so that bytes that are
// not those that were stored never reach the sandbox, then into it.
func (j *job) unpackCache(ctx context.Context, key string) (ci.Blob, error) {
	r, blob, err := j.r.cfg.Caches.Open(ctx, key, 0)
	if err != nil {
		return blob, err
	}
	_, err = io.Copy(io.Discard, r)
	_ = r.Close()
	if err != nil {
		return blob, err
	}
	r, blob, err = j.r.cfg.Caches.Open(ctx, key, 0)
	if err != nil {
		return blob, err
	}
	defer r.Close()
	zr, err := zstd.NewReader(r)
	if err != nil {
		return blob, fmt.Errorf("decompress: %w", err)
	}
	defer zr.Close()
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := j.renameTar(tar.NewReader(zr), tar.NewWriter(pw), j.placeInSandbox)
		_ = pw.CloseWithError(err)
		done <- err
	}()
	putErr := j.sandbox.Put(ctx, "/", pr)
	_ = pr.CloseWithError(errors.New("the sandbox takes no more"))
	if err := <-done; err != nil {
		return blob, err
	}
	return blob, putErr
}

// saveCache stores the cache of a job whose commands succeeded; the cache of a
// failed one may be half made. An entry with a key is never changed.
func (j *job) saveCache(ctx context.Context) error {
	spec := j.a.Job.Cache
	if spec == nil || j.r.cfg.Caches == nil || len(spec.Paths) == 0 {
		return nil
	}
	return j.action(ctx, ci.PhaseFinalizing, "cache", "Save the cache", func(ctx context.Context, s *ci.StepRun, log io.Writer) error {
		use := ci.CacheUse{Action: "save", Key: j.keyed}
		switch {
		case !spec.Save:
			use.Result, use.Reason = "skipped", "cache action is restore"
		case !j.succeeding || !j.result.Status.OK():
			use.Result, use.Reason = "skipped", "the build did not succeed"
		default:
			if err := j.store(ctx, s, &use); err != nil {
				use.Result, use.Reason = "failed", err.Error()
			}
		}
		s.Note = cacheText(use)
		logLine(log, "%s", s.Note)
		s.Cache = []ci.CacheUse{use}
		return nil
	})
}

func (j *job) store(ctx context.Context, s *ci.StepRun, use *ci.CacheUse) error {
	spec := j.a.Job.Cache
	if spec.Key != "" && !spec.Restore {
		keys, err := j.expand(ctx, s.ID+"-key", []string{spec.Key})
		if err != nil {
			return err
		}
		use.Key = keys[0]
	}
	if spec.Key != "" && use.Key == "" {
		use.Result, use.Reason = "skipped", emptyKey
		return nil
	}
	blob := cacheBlob(j.cachePrefix(), use.Key)
	if spec.Key != "" {
		r, old, err := j.r.cfg.Caches.Open(ctx, blob, 0)
		if err == nil {
			_ = r.Close()
			use.Result, use.Size, use.Reason = "exists", old.Size, "an entry with a key is never changed"
			return nil
		}
	}
	stored, err := j.packCache(ctx, blob)
	if errors.Is(err, errNothing) {
		use.Result, use.Reason = "skipped", err.Error()
		return nil
	}
	if err != nil {
		return err
	}
	use.Result, use.Size = "saved", stored.Size
	return nil
}

// packCache stores what the cache paths match; the entry stays as it was when
// that is nothing.
func (j *job) packCache(ctx context.Context, blob string) (ci.Blob, error) {
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() {
		zw, err := zstd.NewWriter(pw, zstd.WithEncoderLevel(zstd.SpeedFastest))
		if err == nil {
			err = j.packPaths(ctx, zw)
		}
		if err == nil {
			err = zw.Close()
		}
		_ = pw.CloseWithError(err)
		done <- err
	}()
	stored, err := j.r.cfg.Caches.Put(ctx, blob, pr)
	_ = pr.CloseWithError(errors.New("the store takes no more"))
	if perr := <-done; perr != nil {
		return stored, perr
	}
	return stored, err
}

// packPaths writes the cached files as a tar whose names say what they are
// relative to, because source and HOME lie elsewhere in another sandbox.
func (j *job) packPaths(ctx context.Context, w io.Writer) error {
	out := tar.NewWriter(w)
	set := ci.FileSet{Dir: j.sandbox.Dirs().Source, Symlinks: true, Dirs: true}
	for _, p := range j.a.Job.Cache.Paths {
		if !path.IsAbs(p) && !strings.HasPrefix(p, "~") {
			p = path.Join(set.Dir, p)
		}
		set.Globs = append(set.Globs, p)
	}
	matched, err := j.take(ctx, set, func(tr *tar.Reader) error {
		return j.copyTar(tr, out, j.placeInCache)
	})
	if err != nil {
		return err
	}
	if matched.Files == 0 {
		return errNothing
	}
	return out.Close()
}

func (j *job) renameTar(tr *tar.Reader, out *tar.Writer, rename func(string) string) error {
	if err := j.copyTar(tr, out, rename); err != nil {
		return err
	}
	return out.Close()
}

func (j *job) copyTar(tr *tar.Reader, out *tar.Writer, rename func(string) string) error {
	for {
		h, err := tr.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read cached files: %w", err)
		}
		if h.Name = rename(h.Name); h.Name == "" {
			continue
		}
		if h.Typeflag == tar.TypeLink {
			h.Linkname = rename(h.Linkname)
		}
		if err := out.WriteHeader(h); err != nil {
			return fmt.Errorf("write %s: %w", h.Name, err)
		}
		if _, err := io.Copy(out, tr); err != nil {
			return fmt.Errorf("write %s: %w", h.Name, err)
		}
	}
}

// placeInCache turns a path of this sandbox into a name in the cache.
func (j *job) placeInCache(name string) string {
	name = path.Clean("/" + name)
	dirs := j.sandbox.Dirs()
	for _, known := range [][2]string{{dirs.Source, "source"}, {dirs.Home, "home"}} {
		if rest, ok := strings.CutPrefix(name, known[0]); ok && (rest == "" || rest[0] == '/') {
			return known[1] + rest
		}
	}
	return "root" + name
}

// placeInSandbox is its inverse; "" for a name that no cache of ours holds.
func (j *job) placeInSandbox(name string) string {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path.Clean("/"+name), "/"), "/")
	dirs := j.sandbox.Dirs()
	switch first {
	case "source":
		return path.Join(dirs.Source, rest)
	case "home":
		return path.Join(dirs.Home, rest)
	case "root":
		return path.Join("/", rest)
	}
	return ""
}

func cacheText(u ci.CacheUse) string {
	text := u.Action + " " + u.Result
	switch {
	case u.Hit != "" && u.Result == "fallback":
		text += ": " + u.Hit + " for " + u.Key
	case u.Key != "":
		text += ": " + u.Key
	}
	if u.Size > 0 {
		text += ", " + bytesText(u.Size)
	}
	if u.Reason != "" {
		text += " (" + u.Reason + ")"
	}
	return text
}

package fileset

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path"
	"slices"
	"syscall"
)

// walk goes through one tree and chooses by globs.
type walk struct {
	*selection
	ctx      context.Context // of the one call that makes and uses the walk
	tree     *tree
	globs    []glob
	excludes []glob
	found    map[string]bool // set when directories are looked for and not files
	above    []string        // real directories on the way down, against loops
}

// dir goes through the directory rel of the tree, whose files are called
// name/… in the archive. A directory that cannot be read is a problem of the
// selection and not of the caller.
func (w *walk) dir(rel, name string, st, ex state) error {
	if err := w.ctx.Err(); err != nil {
		return context.Cause(w.ctx)
	}
	if slices.Contains(w.above, rel) {
		return nil // a link led back to where we come from
	}
	w.above = append(w.above, rel)
	defer func() { w.above = w.above[:len(w.above)-1] }()
	names, few := st.names(w.globs)
	if few {
		slices.Sort(names)
		for _, n := range slices.Compact(names) {
			info, err := os.Lstat(path.Join(w.tree.path, rel, n))
			if err != nil {
				if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
					w.problem("%s: %v", path.Join(name, n), err)
				}
				continue
			}
			if err := w.child(rel, name, n, info.Mode().Type(), st, ex); err != nil {
				return err
			}
		}
		return nil
	}
	f, err := w.tree.open(rel)
	if err != nil {
		w.problem("%s: %v", display(name), err)
		return nil
	}
	list, err := f.ReadDir(-1)
	_ = f.Close()
	if err != nil {
		w.problem("%s: %v", display(name), err)
	}
	slices.SortFunc(list, func(a, b fs.DirEntry) int {
		if a.Name() < b.Name() {
			return -1
		}
		return 1
	})
	for _, d := range list {
		if err := w.child(rel, name, d.Name(), d.Type(), st, ex); err != nil {
			return err
		}
	}
	return nil
}

func display(name string) string {
	if name == "" {
		return "."
	}
	return name
}

// child looks at one name of a directory.
func (w *walk) child(dir, dirName, n string, kind fs.FileMode, st, ex state) error {
	rel, name := path.Join(dir, n), path.Join(dirName, n)
	st, ex = st.step(w.globs, n), ex.step(w.excludes, n)
	if len(st) == 0 || ex.matches(w.excludes) && kind&fs.ModeDir == 0 {
		return nil
	}
	link := ""
	if kind&fs.ModeSymlink != 0 {
		real, err := w.tree.resolve(rel)
		if w.found == nil && w.set.Symlinks && !errors.Is(err, errOutside) {
			link, err = os.Readlink(path.Join(w.tree.path, rel)) // kept as it is, also when it dangles
			if err != nil {
				return nil // gone already
			}
			w.take(st, entry{name: name, tree: w.tree, rel: rel, kind: fs.ModeSymlink, link: link})
			return nil
		}
		if err != nil {
			w.linkProblem(name, st, err)
			return nil
		}
		info, err := os.Lstat(path.Join(w.tree.path, real))
		if err != nil {
			return nil
		}
		rel, kind = real, info.Mode().Type()
		if kind.IsDir() {
			if w.linked++; w.linked > maxLinked {
				w.linkProblem(name, st, errors.New("too many directories behind links"))
				return nil
			}
		}
	}
	if kind.IsDir() {
		return w.directory(rel, name, st, ex)
	}
	if w.found != nil {
		return nil
	}
	if !kind.IsRegular() {
		if st.matches(w.globs) {
			w.problem("%s: not a file (%v)", name, kind)
		}
		return nil
	}
	w.take(st, entry{name: name, tree: w.tree, rel: rel})
	return nil
}

// linkProblem reports a link only where a file there would have been taken.
func (w *walk) linkProblem(name string, st state, err error) {
	if st.matches(w.globs) || st.all(w.globs) {
		var p *fs.PathError
		if errors.As(err, &p) {
			err = p.Err
		}
		w.problem("%s: the link is skipped: %v", name, err)
	}
}

func (w *walk) directory(rel, name string, st, ex state) error {
	if w.found != nil {
		if st.matches(w.globs) {
			w.found[rel] = true
		}
		return w.dir(rel, name, st, ex)
	}
	if w.set.Dirs {
		if ex.matches(w.excludes) {
			return nil // as a whole, as it would be taken
		}
		st.full(w.globs, func(owner int) {
			w.hits[owner] = true
			st = st.everything(w.globs, owner)
		})
		if st.matches(w.globs) {
			w.entries[name] = entry{name: name, tree: w.tree, rel: rel, kind: fs.ModeDir}
		}
	}
	if ex.all(w.excludes) {
		return nil
	}
	return w.dir(rel, name, st, ex)
}

// take adds an entry when a glob matches it.
func (w *walk) take(st state, e entry) {
	if !st.matches(w.globs) {
		return
	}
	st.full(w.globs, func(owner int) { w.hits[owner] = true })
	w.entries[e.name] = e
}

package image

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// shared is the folder that every environment gets a copy of.
const shared = "debian"

// Environment is the definition of a prepackaged environment.
type Environment struct {
	Name     string // "sluice/standard"
	About    string // one line
	Packages []string
	Runtimes []byte // its runtimes.yml
	files    map[string][]byte
}

// Environments reads the definitions from a tree such as environments.Files,
// sorted by name.
func Environments(tree fs.FS) ([]Environment, error) {
	folders, err := fs.ReadDir(tree, ".")
	if err != nil {
		return nil, fmt.Errorf("environments: %w", err)
	}
	var out []Environment
	for _, f := range folders {
		if !f.IsDir() || f.Name() == shared {
			continue
		}
		env, err := readEnvironment(tree, f.Name())
		if err != nil {
			return nil, fmt.Errorf("environment %s: %w", f.Name(), err)
		}
		out = append(out, env)
	}
	return out, nil
}

// Find gives one environment by its name, with or without "sluice/".
func Find(tree fs.FS, name string) (Environment, error) {
	all, err := Environments(tree)
	if err != nil {
		return Environment{}, err
	}
	var names []string
	for _, e := range all {
		if e.Name == name || e.Name == "sluice/"+name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return Environment{}, fmt.Errorf("environment %q: there are %s: %w", name, strings.Join(names, " and "), ci.ErrNotFound)
}

func readEnvironment(tree fs.FS, folder string) (Environment, error) {
	env := Environment{Name: "sluice/" + folder, files: map[string][]byte{}}
	for _, dir := range []string{shared, folder} {
		entries, err := fs.ReadDir(tree, dir)
		if err != nil {
			return env, err
		}
		for _, e := range entries {
			data, err := fs.ReadFile(tree, path.Join(dir, e.Name()))
			if err != nil {
				return env, err
			}
			env.files[e.Name()] = data
		}
	}
	for _, needed := range []string{"Dockerfile", "about.txt", "packages.txt", "runtimes.yml", "install.sh"} {
		if env.files[needed] == nil {
			return env, fmt.Errorf("%s is missing: %w", needed, ci.ErrInvalid)
		}
	}
	env.About = strings.TrimSpace(string(env.files["about.txt"]))
	env.Runtimes = env.files["runtimes.yml"]
	for line := range strings.SplitSeq(string(env.files["packages.txt"]), "\n") {
		line, _, _ = strings.Cut(line, "#")
		env.Packages = append(env.Packages, strings.Fields(line)...)
	}
	return env, nil
}

// Definition is a hash of all that the environment is built from; an image that
// carries another one is out of date.
func (e Environment) Definition() string {
	h := sha256.New()
	for _, name := range e.names() {
		_, _ = fmt.Fprintf(h, "%s %d\n", name, len(e.files[name])) // a hash takes everything
		_, _ = h.Write(e.files[name])
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

func (e Environment) names() []string {
	names := make([]string, 0, len(e.files))
	for n := range e.files {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// writeContext writes what the build of the image gets: the definition, and in
// host/ what this machine trusts. The same input gives the same bytes, so that
// the engine's layer cache works.
func (e Environment) writeContext(w io.Writer, host Host) error {
	t := tar.NewWriter(w)
	for _, name := range e.names() {
		if err := writeFile(t, name, e.files[name]); err != nil {
			return err
		}
	}
	if err := t.WriteHeader(&tar.Header{Name: "host/local/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
		return err
	}
	if err := writeFile(t, "host/bundle.crt", host.Bundle); err != nil {
		return err
	}
	names := make([]string, 0, len(host.Local))
	for n := range host.Local {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		if err := writeFile(t, "host/local/"+n, bytes.TrimSpace(host.Local[n])); err != nil {
			return err
		}
	}
	return t.Close()
}

func writeFile(t *tar.Writer, name string, data []byte) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := t.Write(data)
	return err
}

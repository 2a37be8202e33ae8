package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

func openStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func set(t *testing.T, s *Store, name, value string) {
	t.Helper()
	if err := s.Set(name, value); err != nil {
		t.Fatal(err)
	}
}

func TestStore(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "secrets")
	s := openStore(t, dir)
	if _, err := s.Get("/my/param"); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("empty: got %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("reading made the folder")
	}
	value := "correct horse battery\n\x00staple"
	set(t, s, "/my/param", "old")
	set(t, s, "/my/param", value)
	set(t, s, "b", "")
	s = openStore(t, dir)
	for name, want := range map[string]string{"/my/param": value, "b": ""} {
		if got, err := s.Get(name); err != nil || got != want {
			t.Errorf("%s: got %q, %v", name, got, err)
		}
	}
	list, err := s.List()
	if err != nil || len(list) != 2 || list[0].Name != "/my/param" || list[1].Name != "b" || list[0].Updated.IsZero() {
		t.Errorf("List = %+v, %v", list, err)
	}
	for _, name := range []string{"", ".", "master.key", "secrets.json"} {
		path := filepath.Join(dir, name)
		fi, err := os.Stat(path)
		if err != nil || fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", path, fi.Mode(), err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "secrets.json"))
	if err != nil || bytes.Contains(b, []byte("horse")) {
		t.Errorf("the value is readable, or %v", err)
	}
	if err := s.Delete("b"); err != nil {
		t.Error(err)
	}
	if err := s.Delete("b"); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("deleted twice: got %v", err)
	}
	for _, name := range []string{"", "a\nb", strings.Repeat("x", 3000)} {
		if err := s.Set(name, "v"); !errors.Is(err, ci.ErrInvalid) {
			t.Errorf("name %.10q: got %v", name, err)
		}
	}
	if err := s.Set("big", strings.Repeat("x", maxValue+1)); !errors.Is(err, ci.ErrInvalid) {
		t.Errorf("too big: got %v", err)
	}
}

func TestStoreRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spoil func(t *testing.T, dir string) error
		want  error
	}{
		"loose key":  {func(t *testing.T, dir string) error { return os.Chmod(dir+"/master.key", 0o640) }, ci.ErrDenied},
		"loose file": {func(t *testing.T, dir string) error { return os.Chmod(dir+"/secrets.json", 0o604) }, ci.ErrDenied},
		"key is a link": {func(t *testing.T, dir string) error {
			return errors.Join(os.Rename(dir+"/master.key", dir+"/k"), os.Symlink("k", dir+"/master.key"))
		}, ci.ErrDenied},
		"key gone":    {func(t *testing.T, dir string) error { return os.Remove(dir + "/master.key") }, ci.ErrUnavailable},
		"short key":   {func(t *testing.T, dir string) error { return os.WriteFile(dir+"/master.key", []byte("x"), 0o600) }, ci.ErrInvalid},
		"another key": {func(t *testing.T, dir string) error { return os.WriteFile(dir+"/master.key", make([]byte, 32), 0o600) }, ci.ErrInvalid},
		"damaged":     {func(t *testing.T, dir string) error { return os.WriteFile(dir+"/secrets.json", []byte("{"), 0o600) }, ci.ErrInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			s := openStore(t, dir)
			set(t, s, "name", "hush-hush")
			if err := tt.spoil(t, dir); err != nil {
				t.Fatal(err)
			}
			_, err := s.Get("name")
			if !errors.Is(err, tt.want) || strings.Contains(err.Error(), "hush") {
				t.Errorf("Get: got %v, want %v", err, tt.want)
			}
			if err := s.Set("other", "v"); name != "another key" && !errors.Is(err, tt.want) {
				t.Errorf("Set: got %v, want %v", err, tt.want)
			}
			if _, err := OpenStore(dir); tt.want == ci.ErrDenied && !errors.Is(err, ci.ErrDenied) {
				t.Errorf("OpenStore: got %v, want ErrDenied", err)
			}
		})
	}
}

// A sealed value opens under its own name only.
func TestValuesCannotBeSwapped(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := openStore(t, dir)
	set(t, s, "harmless", "1111")
	set(t, s, "precious", "2222")
	b, err := os.ReadFile(filepath.Join(dir, "secrets.json"))
	if err != nil {
		t.Fatal(err)
	}
	swapped := strings.NewReplacer("harmless", "precious", "precious", "harmless").Replace(string(b))
	if err := os.WriteFile(filepath.Join(dir, "secrets.json"), []byte(swapped), 0o600); err != nil {
		t.Fatal(err)
	}
	if v, err := s.Get("harmless"); !errors.Is(err, ci.ErrInvalid) {
		t.Errorf("got %q, %v, want ErrInvalid", v, err)
	}
}

func TestStoreConcurrently(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "new")
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			s, err := OpenStore(dir)
			if err == nil {
				err = s.Set(fmt.Sprint("n", i), fmt.Sprint("v", i))
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	s := openStore(t, dir)
	for i := range 12 {
		if v, err := s.Get(fmt.Sprint("n", i)); err != nil || v != fmt.Sprint("v", i) {
			t.Errorf("n%d: got %q, %v", i, v, err)
		}
	}
}

func TestReferences(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:prod/db-AbC123"
	const param = "arn:aws:ssm:eu-west-1:123456789012:parameter/"
	dir := t.TempDir()
	s := openStore(t, dir)
	values := Given{"/my/param": "p1", "flat": "p2", "prod/db": `{"user":"ann","port":5432,"on":true,"nested":{"a":1}}`, "plain": "text", "id:key": "whole"}
	for name, v := range values {
		set(t, s, name, v)
	}
	tests := []struct {
		kind ci.VariableKind
		ref  string
		want string
		err  error
	}{
		{ci.ParameterStore, "/my/param", "p1", nil},
		{ci.ParameterStore, param + "my/param", "p1", nil},
		{ci.ParameterStore, param + "flat", "p2", nil},
		{ci.ParameterStore, "/none", "", ci.ErrNotFound},
		{ci.SecretsManager, "plain", "text", nil},
		{ci.SecretsManager, "plain::AWSCURRENT", "text", nil},
		{ci.SecretsManager, "plain::AWSPREVIOUS", "", ci.ErrNotFound},
		{ci.SecretsManager, "plain:::some-id", "", ci.ErrNotFound},
		{ci.SecretsManager, "prod/db:user", "ann", nil},
		{ci.SecretsManager, "prod/db:port", "5432", nil},
		{ci.SecretsManager, "prod/db:on::", "true", nil},
		{ci.SecretsManager, "prod/db:nested", `{"a":1}`, nil},
		{ci.SecretsManager, "prod/db:none", "", ci.ErrNotFound},
		{ci.SecretsManager, "plain:key", "", ci.ErrInvalid},
		{ci.SecretsManager, arn + ":user", "ann", nil},
		{ci.SecretsManager, arn, values["prod/db"], nil},
		{ci.SecretsManager, "id:key", "whole", nil},
		{ci.SecretsManager, "a:b:c:d:e", "", ci.ErrInvalid},
		{ci.SecretsManager, "a::AWSCURRENT:id", "", ci.ErrInvalid},
		{ci.SecretsManager, ":key", "", ci.ErrInvalid},
		{ci.SecretsManager, "arn:aws:ssm:x", "", ci.ErrInvalid},
		{ci.LocalSecret, "flat", "p2", nil},
		{ci.LocalSecret, "none", "", ci.ErrNotFound},
		{ci.Plain, "flat", "", ci.ErrInvalid},
	}
	for name, source := range map[string]ci.SecretSource{"store": s, "given": values} {
		for _, tt := range tests {
			got, err := source.Lookup(t.Context(), tt.kind, tt.ref)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%s: %s %q: got %q, %v, want %q, %v", name, tt.kind, tt.ref, got, err, tt.want, tt.err)
			}
			if err != nil && (strings.Contains(err.Error(), "text") || strings.Contains(err.Error(), "5432")) {
				t.Errorf("%q: the error tells the value: %v", tt.ref, err)
			}
		}
	}
}

func FuzzParseManagedRef(f *testing.F) {
	for _, s := range []string{"id", "id:key", "id::STAGE", "id:key::ver", "arn:aws:secretsmanager:r:1:secret:n-abcdef:key::", ":", "arn:", "::::::"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, ref string) {
		r, err := ParseManagedRef(ref)
		if err != nil {
			if !errors.Is(err, ci.ErrInvalid) {
				t.Fatalf("got %v", err)
			}
			return
		}
		whole := strings.Join([]string{r.ID, r.JSONKey, r.Stage, r.Version}, ":")
		if strings.TrimRight(whole, ":") != strings.TrimRight(ref, ":") || r.ID == "" {
			t.Fatalf("%q became %+v", ref, r)
		}
	})
}

// counted is a source that counts how often it is asked.
type counted struct {
	Given
	err   error
	asked atomic.Int64
}

func (c *counted) Lookup(ctx context.Context, kind ci.VariableKind, ref string) (string, error) {
	c.asked.Add(1)
	if c.err != nil {
		return "", c.err
	}
	return c.Given.Lookup(ctx, kind, ref)
}

func TestChain(t *testing.T) {
	t.Parallel()
	first, second := &counted{Given: Given{"a": "1st"}}, &counted{Given: Given{"a": "2nd", "b": "2nd"}}
	c := Chain(first, second)
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			for name, want := range map[string]string{"a": "1st", "b": "2nd"} {
				if v, err := c.Lookup(t.Context(), ci.ParameterStore, name); err != nil || v != want {
					t.Errorf("%s: got %q, %v", name, v, err)
				}
			}
		})
	}
	wg.Wait()
	if first.asked.Load() != 2 || second.asked.Load() != 1 {
		t.Errorf("asked %d and %d times, want 2 and 1", first.asked.Load(), second.asked.Load())
	}
	silent := &counted{err: fmt.Errorf("no credentials: %w", ci.ErrUnavailable)}
	denied := &counted{err: fmt.Errorf("no: %w", ci.ErrDenied)}
	for want, c := range map[error]*Chained{
		ci.ErrNotFound:    Chain(first, second),
		ci.ErrUnavailable: Chain(first, silent, second),
		ci.ErrDenied:      Chain(denied, silent, second),
	} {
		if _, err := c.Lookup(t.Context(), ci.ParameterStore, "none"); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	if v, err := Chain(silent, second).Lookup(t.Context(), ci.ParameterStore, "b"); err != nil || v != "2nd" {
		t.Errorf("behind a silent source: got %q, %v", v, err)
	}
	if _, err := Chain().Lookup(t.Context(), ci.LocalSecret, "x"); !errors.Is(err, ci.ErrNotFound) {
		t.Errorf("no sources: got %v", err)
	}
}

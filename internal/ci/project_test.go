package ci_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

func TestCheckProjectName(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"ab", "A-_", "0" + strings.Repeat("x", 149), "my-project_2"} {
		if err := ci.CheckProjectName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for bad, says := range map[string]string{
		"":                       "0 characters",
		"a":                      "1 characters",
		strings.Repeat("x", 151): "151 characters",
		"-ab":                    "may not begin with '-'",
		"_ab":                    "may not begin with '_'",
		"a b":                    "may not have ' '",
		"a/../b":                 "may not have '/'",
		"größe":                  "may not have 'ö'",
		"ab\x00":                 `may not have '\x00'`,
		"a\xff":                  "may not have",
	} {
		err := ci.CheckProjectName(bad)
		if !errors.Is(err, ci.ErrInvalid) || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: got %v, want ErrInvalid that says %q", bad, err, says)
		}
	}
}

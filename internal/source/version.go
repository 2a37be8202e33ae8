package source

import (
	"fmt"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// version is what the Version of a git source asks for.
type version struct {
	hash   string   // a whole commit id
	abbrev string   // a name that may be the beginning of a commit id
	refs   []string // where to look, most wanted first; with hash: the name to go by
}

// parseVersion understands branch, tag, commit (also abbreviated), refs/...,
// pr/N and the pinned form ref^{commit}; "" is the default branch.
func parseVersion(v string) (version, error) {
	bad := func(why string) (version, error) {
		return version{}, fmt.Errorf("source version %q: %s: %w", v, why, ci.ErrInvalid)
	}
	if v == "" || v == "HEAD" {
		return version{refs: []string{"HEAD"}}, nil
	}
	if ref, hash, ok := strings.Cut(v, "^{"); ok {
		hash, closed := strings.CutSuffix(hash, "}")
		if !closed || !isHash(hash) || !strings.HasPrefix(ref, "refs/") || !isRefName(ref) {
			return bad("want refs/heads/NAME^{COMMIT}, with the whole commit id")
		}
		return version{hash: hash, refs: []string{ref}}, nil
	}
	if isHash(v) {
		return version{hash: v}, nil
	}
	if !isRefName(v) {
		return bad("it cannot be a branch, tag or commit")
	}
	if n, ok := strings.CutPrefix(v, "pr/"); ok && isNumber(n) {
		return version{refs: []string{ // GitHub and Gitea, GitLab, Bitbucket
			"refs/pull/" + n + "/head", "refs/merge-requests/" + n + "/head", "refs/pull-requests/" + n + "/from",
			"refs/heads/" + v, "refs/tags/" + v,
		}}, nil
	}
	if strings.HasPrefix(v, "refs/") {
		return version{refs: []string{v}}, nil
	}
	out := version{refs: []string{"refs/heads/" + v, "refs/tags/" + v}}
	if len(v) >= 4 && len(v) < 64 && strings.Trim(v, "0123456789abcdef") == "" {
		out.abbrev = v
	}
	return out, nil
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// isRefName follows git check-ref-format, and refuses what looks like an option.
func isRefName(s string) bool {
	if s == "" || s == "@" || len(s) > 1024 || s[0] == '-' || strings.HasSuffix(s, ".") {
		return false
	}
	for _, no := range []string{"..", "@{", "//"} {
		if strings.Contains(s, no) {
			return false
		}
	}
	for part := range strings.SplitSeq(s, "/") {
		if part == "" || part[0] == '.' || part[0] == '-' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f || strings.IndexByte("~^:?*[\\", s[i]) >= 0 {
			return false
		}
	}
	return true
}

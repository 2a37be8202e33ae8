package buildspec

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
	yaml "go.yaml.in/yaml/v4"
)

// defaultRetries is how often RETRY tries again when it gives no count.
const defaultRetries = 3

func (r *reader) onFailure(n *yaml.Node, where string, old bool) ci.FailureRule {
	where += ".on-failure"
	text := strings.TrimSpace(r.text(n, where))
	if text == "" {
		return ci.FailureRule{}
	}
	rule, err := parseFailure(text)
	if err != nil {
		r.errorf(n, "%s: %s", where, err)
		return ci.FailureRule{}
	}
	if old {
		r.warnf(n, "%s has no effect in version 0.1: use version: 0.2", where)
		return ci.FailureRule{}
	}
	return rule
}

// parseFailure reads ABORT, CONTINUE and the four forms of RETRY, in any case.
// After "RETRY-" a first part of digits alone is a count, anything else a pattern.
func parseFailure(text string) (ci.FailureRule, error) {
	word, rest, more := strings.Cut(text, "-")
	switch strings.ToUpper(word) {
	case "ABORT", "CONTINUE":
		if more {
			return ci.FailureRule{}, fmt.Errorf("%s takes nothing after it, found %s", strings.ToUpper(word), quote(text))
		}
		return ci.FailureRule{Action: ci.FailureAction(strings.ToUpper(word))}, nil
	case "RETRY":
	default:
		return ci.FailureRule{}, fmt.Errorf("expected ABORT, CONTINUE, RETRY, RETRY-count, RETRY-regex or RETRY-count-regex, found %s", quote(text))
	}
	rule := ci.FailureRule{Action: ci.FailRetry, Retries: defaultRetries}
	if !more {
		return rule, nil
	}
	first, pattern, both := strings.Cut(rest, "-")
	if first != "" && strings.Trim(first, "0123456789") == "" {
		count, err := strconv.Atoi(first)
		if err != nil || count > 100 {
			return ci.FailureRule{}, fmt.Errorf("a count of retries is 0 to 100, found %s", quote(first))
		}
		rule.Retries = count
		if !both {
			return rule, nil
		}
		rest = pattern
	}
	if rest == "" {
		return ci.FailureRule{}, fmt.Errorf("a count or a regular expression is missing after the last - of %s", quote(text))
	}
	if _, err := regexp.Compile(rest); err != nil {
		return ci.FailureRule{}, fmt.Errorf("%s is not a regular expression: %w", quote(rest), err)
	}
	rule.Pattern = rest
	return rule, nil
}

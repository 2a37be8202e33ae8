package buildspec

import (
	"fmt"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// checkReference says what is wrong with a reference to a secret. When fatal,
// no store could resolve it.
func checkReference(kind ci.VariableKind, ref string) (why string, fatal bool) {
	if kind == ci.SecretsManager {
		return checkSecret(ref)
	}
	return checkParameter(ref)
}

// checkParameter: the name or ARN of a parameter, with an optional :version or :label.
func checkParameter(ref string) (string, bool) {
	if ref == "" {
		return "expected the name of a parameter, found nothing", true
	}
	name := ref
	if strings.HasPrefix(ref, "arn:") {
		p := strings.SplitN(ref, ":", 6)
		if len(p) < 6 || p[2] != "ssm" || !strings.HasPrefix(p[5], "parameter/") {
			return fmt.Sprintf("%s is not the ARN of a parameter: expected arn:aws:ssm:REGION:ACCOUNT:parameter/NAME", quote(ref)), true
		}
		name = p[5]
	}
	if strings.Contains(name, "$") {
		return fmt.Sprintf("%s is taken literally: no variable is replaced in the name of a parameter", quote(ref)), false
	}
	if i := strings.IndexFunc(name, func(c rune) bool { return !plainRune(c) && !strings.ContainsRune("_.-/:", c) }); i >= 0 {
		return fmt.Sprintf("the name of a parameter has letters, digits and _ . - / only, found %s", quote(ref)), false
	}
	return "", false
}

// checkSecret: secret-id:json-key:version-stage:version-id, where the ID may be
// an ARN, which has six colons of its own.
func checkSecret(ref string) (string, bool) {
	const form = "expected secret-id:json-key:version-stage:version-id, all but the first optional"
	id, rest := ref, ""
	if strings.HasPrefix(ref, "arn:") {
		p := strings.SplitN(ref, ":", 8)
		if len(p) < 7 || p[2] != "secretsmanager" || p[5] != "secret" || p[6] == "" {
			return fmt.Sprintf("%s is not the ARN of a secret: expected arn:aws:secretsmanager:REGION:ACCOUNT:secret:NAME", quote(ref)), true
		}
		id = strings.Join(p[:7], ":")
		if len(p) == 8 {
			rest = p[7]
		}
	} else {
		id, rest, _ = strings.Cut(ref, ":")
	}
	parts := strings.Split(rest, ":") // json-key, version-stage, version-id
	switch {
	case id == "":
		return "the secret's name is missing: " + form, true
	case len(parts) > 3:
		return fmt.Sprintf("%s has too many parts: %s", quote(ref), form), true
	case len(parts) == 3 && parts[1] != "" && parts[2] != "":
		return fmt.Sprintf("%s names a version-stage and a version-id, and they exclude each other: leave one empty", quote(ref)), true
	case strings.Contains(ref, "$"):
		return fmt.Sprintf("%s is taken literally: no variable is replaced in a reference to a secret", quote(ref)), false
	}
	return "", false
}

func plainRune(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

package buildspec

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Lint says all that is wrong or doubtful with a definition: what Compile says,
// of the batch section too where there is one, and what its author would thank
// for. It does not need Definition.Batch. Without Definition.Read the
// buildspecs that a batch refers to are not looked at.
func Lint(def ci.Definition) ci.Problems {
	c := &compiler{notes: &notes{}, def: def, specs: map[string]*spec{}, lint: true}
	main := c.main()
	if main != nil && main.batch != nil {
		c.batchJobs(&ci.Plan{}, main)
	}
	if main != nil && len(main.phases) > 0 {
		j := main.job(soleJob)
		c.expand(&j, task{})
	}
	// In the order in which they were opened: only so many warnings are kept.
	for _, name := range slices.Clone(c.files) {
		if s := c.specs[path.Clean(name)]; s != nil {
			c.lintSpec(s)
		}
	}
	return c.sorted()
}

// lintSpec warns of what is valid and does not do what it looks like.
func (c *compiler) lintSpec(s *spec) {
	r := s.reader(c.notes)
	for _, v := range s.env.variables {
		r.lintVariable(v)
	}
	for _, x := range s.env.exports {
		for _, v := range s.env.variables {
			if v.Name == x.text && v.Secret() {
				r.warnf(x.node, "env.exported-variables: %s is a secret, and an exported variable is shown to everyone who sees the build", x.text)
			}
		}
	}
	bash := strings.HasSuffix(s.env.shell, "bash")
	for _, p := range s.phases {
		for _, step := range append(slices.Clone(p.plan.Steps), p.plan.Finally...) {
			c.lintStep(s, step, bash)
		}
	}
	c.lintPublish(s)
}

// credential finds texts that are secrets by their form.
var credential = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\b(AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}|\bglpat-[A-Za-z0-9_-]{20}|-----BEGIN [A-Z ]*PRIVATE KEY-----`)
})

var reference = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`\$[A-Za-z_][A-Za-z0-9_]*|\$\{[A-Za-z_][^}]*\}|\$\([^)]+\)`)
})

func (r *reader) lintVariable(v variable) {
	if v.Secret() {
		return
	}
	if found := reference().FindString(v.Value); found != "" {
		r.warnf(v.value, "%s: %s is taken literally, nothing is replaced in a variable's value: set it in a command instead (export %s=...)", v.Name, quote(found), v.Name)
	}
	if credential().MatchString(v.Value) {
		r.warnf(v.value, "%s: this is a credential, and anyone who reads the file has it: take it from parameter-store or secrets-manager", v.Name)
	}
}

func (c *compiler) lintStep(s *spec, step ci.Step, bash bool) {
	warn := func(format string, args ...any) {
		c.add(step.Pos, ci.Warning, fmt.Sprintf(format, args...))
	}
	if len(step.Run) > maxLintScript {
		return
	}
	if found := powerShell().FindString(step.Run); found != "" {
		warn("%s is PowerShell, which Windows builds use; Sluice runs commands with a Linux shell", quote(strings.TrimSpace(found)))
		return
	}
	text := bareScript(step.Run)
	if found := bashisms(text); len(found) > 0 && !bash {
		if s.old {
			warn("only bash knows %s, and version 0.1 runs every command with sh: use version: 0.2 with env.shell: bash", strings.Join(found, ", "))
		} else {
			warn("only bash knows %s, and commands run with sh, which is dash on Debian and Ubuntu: set env.shell: bash", strings.Join(found, ", "))
		}
	}
	if strings.Contains(step.Run, "${{") {
		warn("${{ }} is GitHub Actions' and no shell knows it: use an environment variable")
	}
	if line, command := maskedFailure(text); line > 0 {
		warn("the status of a command is that of its last line, so a failure of %s in line %d of it goes unseen: begin with \"set -e\"", quote(command), line)
	}
	if s.old && lonely().MatchString(text) {
		warn("version 0.1 starts a new shell for each command, so this has no effect on the next one: use version: 0.2, or join them with &&")
	}
}

// maxLintScript is the longest script that is looked into; longer ones are data.
const maxLintScript = 64 << 10

// lonely is a command that only changes the shell it runs in.
var lonely = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^\s*(cd|export)\s[^;&|\n]*\n?$`)
})

var publish = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?m)(?:^|[;&|(]|\bthen|\bdo|\belse)\s*(?:sudo\s+)?(docker(?:\s+image)?\s+push|docker\s+buildx\s+build\s[^\n]*--push|aws\s+s3\s+(?:sync|cp)|aws\s+ecs\s+update-service|aws\s+lambda\s+update-function-code|aws\s+cloudformation\s+deploy|kubectl\s+apply|helm\s+(?:upgrade|install)|terraform\s+apply|(?:npx\s+)?(?:cdk|sam|serverless|sls)\s+deploy|(?:npm|yarn|pnpm|cargo)\s+publish|twine\s+upload)\b`)
})

// lintPublish warns of a post_build that publishes what a failed build left.
func (c *compiler) lintPublish(s *spec) {
	if len(s.phases) < 4 {
		return
	}
	build, post := s.phases[2].plan, s.phases[3].plan
	if len(build.Steps) == 0 || build.OnFailure.Action == ci.FailAbort {
		return
	}
	steps := append(slices.Clone(post.Steps), post.Finally...)
	for _, step := range steps {
		if strings.Contains(step.Run, "CODEBUILD_BUILD_SUCCEEDING") {
			return
		}
		if len(step.Run) > maxLintScript {
			continue
		}
		if m := publish().FindStringSubmatch(bareScript(step.Run)); m != nil {
			c.add(step.Pos, ci.Warning, fmt.Sprintf("post_build runs after a failed build too, and would then run %s: set on-failure: ABORT on build, or run it only if [ \"$CODEBUILD_BUILD_SUCCEEDING\" = 1 ]", quote(m[1])))
			return
		}
	}
}

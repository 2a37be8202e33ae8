package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// variables settles the environment of the job's commands: what the service
// says, over it what the definition says, over it what the build was started
// with, over it what a batch says of this one of its builds (codebuild.md 1.3, 3).
// A later one replaces value and kind of the same name. Secrets are looked up and will be masked.
func (j *job) variables(ctx context.Context) error {
	var set []ci.Variable
	index := map[string]int{}
	add := func(vs []ci.Variable) {
		for _, v := range vs {
			if i, ok := index[v.Name]; ok {
				set[i] = v
				continue
			}
			index[v.Name] = len(set)
			set = append(set, v)
		}
	}
	add(j.serviceVariables())
	if j.r.cfg.Variables != nil {
		add(j.r.cfg.Variables(*j.a))
	}
	if j.r.cfg.Identity != nil {
		vars, hide, err := j.r.cfg.Identity(ctx, j.a.Build)
		if err != nil {
			return fmt.Errorf("give the build its identity: %w", err)
		}
		j.mask = append(j.mask, hide...)
		add(vars)
	}
	add(j.a.Job.Variables)
	add(j.a.Build.Variables)
	add(j.a.Job.Own)
	secret := 0
	for i := range set {
		if set[i].Secret() {
			secret++
		}
	}
	if secret > 0 {
		if err := j.lookUp(ctx, set, secret); err != nil {
			return err
		}
	}
	j.set = set
	for _, v := range set {
		j.env = append(j.env, v.Name+"="+v.Value)
	}
	return nil
}

// lookUp replaces the references of the secret variables by their values, all
// of them, and says of all that cannot be had why.
func (j *job) lookUp(ctx context.Context, set []ci.Variable, n int) error {
	values := make([]string, len(set))
	var missing []error
	source := j.r.cfg.Secrets(j.a.Build)
	for i, v := range set {
		if !v.Secret() {
			continue
		}
		value, err := source.Lookup(ctx, v.Kind, v.Value)
		if err != nil {
			missing = append(missing, fmt.Errorf("variable %s: %w", v.Name, err))
			continue
		}
		values[i] = value
		j.mask = append(j.mask, value)
	}
	for i := range set {
		if set[i].Secret() {
			set[i].Value = values[i]
		}
	}
	var all error
	if len(missing) > 0 {
		all = &failure{code: ci.CodeClient, err: errors.Join(missing...)}
	}
	err := j.action(ctx, ci.PhaseDownloadSource, "variables", "Look up secrets", func(_ context.Context, s *ci.StepRun, log io.Writer) error {
		s.Note = fmt.Sprintf("%d of %d found", n-len(missing), n)
		logLine(log, "%s", s.Note)
		return all
	})
	if err == nil {
		err = all // found once, and gone when the next process looked again
	}
	return err
}

// Stand-ins for what only an AWS account has.
const (
	localAccount = "000000000000"
	localRegion  = "us-east-1"
)

// serviceVariables are those of codebuild.md 3 that do not depend on who asks.
func (j *job) serviceVariables() []ci.Variable {
	b, dirs := j.a.Build, j.sandbox.Dirs()
	id := b.Project + ":" + string(b.ID)
	if j.a.Run.Name != "build" {
		id += "-" + j.a.Run.Name
	}
	arn := func(kind, name string) string {
		return "arn:aws:codebuild:" + localRegion + ":" + localAccount + ":" + kind + "/" + name
	}
	vars := []ci.Variable{
		{Name: "AWS_DEFAULT_REGION", Value: localRegion},
		{Name: "AWS_REGION", Value: localRegion},
		{Name: "CODEBUILD_BUILD_ARN", Value: arn("build", id)},
		{Name: "CODEBUILD_BUILD_ID", Value: id},
		{Name: "CODEBUILD_BUILD_IMAGE", Value: j.image()},
		{Name: "CODEBUILD_BUILD_NUMBER", Value: strconv.FormatInt(b.Number, 10)},
		{Name: "CODEBUILD_CI", Value: "true"},
		{Name: "CODEBUILD_INITIATOR", Value: b.Initiator},
		{Name: "CODEBUILD_KMS_KEY_ID", Value: "arn:aws:kms:" + localRegion + ":" + localAccount + ":alias/aws/s3"},
		{Name: "CODEBUILD_LOG_PATH", Value: string(b.ID)},
		{Name: "CODEBUILD_PROJECT_ARN", Value: arn("project", b.Project)},
		{Name: "CODEBUILD_SOURCE_REPO_URL", Value: b.Source.Location},
		{Name: "CODEBUILD_SOURCE_VERSION", Value: sourceVersion(b)},
		{Name: "CODEBUILD_SRC_DIR", Value: dirs.Source},
		{Name: "CODEBUILD_START_TIME", Value: strconv.FormatInt(b.Queued.UnixMilli(), 10)},
	}
	if b.Commit.Hash != "" {
		vars = append(vars, ci.Variable{Name: "CODEBUILD_RESOLVED_SOURCE_VERSION", Value: b.Commit.Hash})
	}
	return vars
}

func sourceVersion(b ci.Build) string {
	if b.Source.Version != "" {
		return b.Source.Version
	}
	return strings.TrimPrefix(b.Commit.Ref, "refs/heads/")
}

func (j *job) image() string {
	if image := j.sandbox.Placed().Image; image != "" {
		return image
	}
	return j.sandbox.Placed().Executor
}

// startEnv is the environment to start the next command with: everything for
// the first of a session, afterwards only what changed since, so that what
// commands set themselves stays.
func (j *job) startEnv() []string {
	now := []string{
		"CODEBUILD_BUILD_SUCCEEDING=" + map[bool]string{true: "1", false: "0"}[j.succeeding],
		"CODEBUILD_LAST_EXIT=" + strconv.Itoa(j.lastExit),
	}
	if j.entered && !j.a.Job.FreshShell {
		return now
	}
	return append(append([]string(nil), j.env...), now...)
}

// value is a variable as the job starts with it.
func (j *job) value(name string) (string, bool) {
	for _, v := range j.set {
		if v.Name == name {
			return v.Value, true
		}
	}
	return "", false
}

// expand evaluates texts as the job's shell would inside double quotes, in the
// state in which the last command left it: $NAME, $(command), backquotes. Texts
// without any of these cost nothing.
func (j *job) expand(ctx context.Context, id ci.StepID, texts []string) ([]string, error) {
	out := append([]string(nil), texts...)
	var script strings.Builder
	var asked []int
	for i, t := range texts {
		if strings.ContainsAny(t, "$`") {
			asked = append(asked, i)
			script.WriteString(hereDocument(t))
		}
	}
	if len(asked) == 0 {
		return out, nil
	}
	answer, err := j.ask(ctx, id, script.String())
	if err != nil {
		return nil, fmt.Errorf("evaluate %q: %w", texts[asked[0]], err)
	}
	parts := strings.Split(answer, "\x00")
	if len(parts) != len(asked)+1 {
		return nil, fmt.Errorf("evaluate %q: the shell gave %d answers to %d questions", texts, len(parts)-1, len(asked))
	}
	for k, i := range asked {
		out[i] = strings.TrimRight(parts[k], "\n")
	}
	return out, nil
}

// hereDocument prints a text as the shell evaluates it, and a NUL. It is not an
// argument in double quotes because quotes inside the text are to stay.
func hereDocument(text string) string {
	if n := len(text) - len(strings.TrimRight(text, `\`)); n%2 == 1 {
		text += `\` // alone it would join the end of the document to the text
	}
	end := "SLUICE_TEXT_END"
	for strings.Contains(text, end) {
		end += "_"
	}
	return "cat <<" + end + "\n" + text + "\n" + end + "\nprintf '\\0'\n"
}

// readExports reads the exported variables in the state in which the last
// command left them (codebuild.md 1.3). One that is not set is left out.
func (j *job) readExports(ctx context.Context) error {
	names := j.a.Job.Exports
	if len(names) == 0 || !j.entered {
		return nil
	}
	return j.action(ctx, ci.PhaseFinalizing, "exports", "Read exported variables", func(ctx context.Context, s *ci.StepRun, _ io.Writer) error {
		var script strings.Builder
		for _, n := range names {
			fmt.Fprintf(&script, "if [ -n \"${%s+set}\" ]; then printf '1%%s\\0' \"$%s\"; else printf '0\\0'; fi\n", n, n)
		}
		answer, err := j.ask(ctx, s.ID, script.String())
		if err != nil {
			return fmt.Errorf("read the exported variables: %w", err)
		}
		parts := strings.Split(answer, "\x00")
		for i, n := range names {
			if i < len(parts) && strings.HasPrefix(parts[i], "1") {
				s.Exports = append(s.Exports, ci.Variable{Name: n, Value: j.hide(parts[i][1:])})
			}
		}
		return nil
	})
}

// hide masks secrets in a text that is stored beside the log.
func (j *job) hide(s string) string {
	for _, secret := range j.mask {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	return s
}

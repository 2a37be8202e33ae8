package app

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Field is one thing wrong with a request: where, as in "variables[2].name", and
// what is wanted.
type Field struct {
	Path    string
	Message string
}

// Invalid is all that is wrong with a request. It wraps ci.ErrInvalid.
type Invalid struct {
	Fields []Field
	Query  bool // they are of the query, and not of the body
}

func (i *Invalid) Error() string {
	texts := make([]string, len(i.Fields))
	for n, f := range i.Fields {
		texts[n] = f.Path + ": " + f.Message
	}
	return strings.Join(texts, "; ")
}

// Unwrap makes Invalid a ci.ErrInvalid.
func (i *Invalid) Unwrap() error { return ci.ErrInvalid }

func (i *Invalid) add(path, format string, args ...any) {
	i.Fields = append(i.Fields, Field{path, fmt.Sprintf(format, args...)})
}

func (i *Invalid) err() error {
	if len(i.Fields) == 0 {
		return nil
	}
	return i
}

// Limits of what a project and a build may say, CodeBuild's where it has one
// (codebuild.md 4.1, 9.1).
const (
	maxDescription = 255
	maxInline      = 256 << 10
	maxText        = 2048
	maxVariables   = 500
	maxValue       = 64 << 10
	maxTags        = 50
	maxTagKey      = 127
	maxTagValue    = 255
	maxJobs        = 1000
	minTime        = time.Second
	maxTime        = 36 * time.Hour
)

// checkProject says all that is wrong with a project.
func checkProject(p ci.Project) error {
	in := &Invalid{}
	if err := ci.CheckProjectName(p.Name); err != nil {
		in.add("name", "%s", ci.Message(err))
	}
	in.text("description", p.Description, maxDescription)
	in.source(p.Source)
	in.file("file", p.File)
	in.text("inline", p.Inline, maxInline)
	in.runtime("runtime", p.Runtime)
	in.variables("variables", p.Variables)
	in.limits(p.Limits)
	in.packaging(p.Artifacts)
	in.parameters(p)
	if err := p.Retention.Check(); err != nil {
		in.add("retention", "%s", ci.Message(err))
	}
	in.tags(p.Tags)
	in.secretSources(p.Secrets)
	if p.BuildRole != ci.RoleNone && p.BuildRole != ci.RoleViewer && p.BuildRole != ci.RoleBuilder {
		in.add("buildRole", "%.40q: want viewer or builder, or nothing for builds without a token", p.BuildRole)
	}
	in.after(p)
	return in.err()
}

func (i *Invalid) packaging(how string) {
	switch how {
	case "", "zip", "folder":
	default:
		i.add("artifacts", "%q is not a way to keep artifacts: want zip or folder", how)
	}
}

func (i *Invalid) source(s ci.Source) {
	switch s.Type {
	case "git", "directory", typeUpload:
	case "":
		i.add("source.type", "is missing: want git, directory or upload")
	default:
		i.add("source.type", "%q is not a kind of source: want git, directory or upload", s.Type)
	}
	if s.Type == typeUpload {
		if s.Version != "" {
			i.add("source.version", "an upload has no versions: leave it out")
		}
	} else if s.Location == "" {
		i.add("source.location", "is missing: want a URL, or the absolute path of a directory on the server")
	} else if s.Type == "directory" && !path.IsAbs(s.Location) {
		i.add("source.location", "want the absolute path of a directory on the server")
	}
	i.text("source.location", s.Location, maxText)
	if u, err := url.Parse(s.Location); err == nil && u.User != nil {
		if _, secret := u.User.Password(); secret {
			i.add("source.location", "holds a password, which all who see the project would see: leave it out, and let git on the server know it (a credential helper, or a key)")
		}
	}
	i.ref("source.version", s.Version)
}

// text refuses what no column, header or shell could carry.
func (i *Invalid) text(path, s string, most int) {
	switch {
	case len(s) > most:
		i.add(path, "has %d bytes: want at most %d", len(s), most)
	case !utf8.ValidString(s):
		i.add(path, "is not UTF-8")
	case strings.ContainsRune(s, 0):
		i.add(path, "holds a NUL byte")
	}
}

func (i *Invalid) ref(path, ref string) {
	i.text(path, ref, maxText)
	if strings.HasPrefix(ref, "-") || strings.ContainsAny(ref, " \n\r\t") {
		i.add(path, "want a branch, a tag or a commit, without spaces and not beginning with '-'")
	}
}

func (i *Invalid) file(field, name string) {
	i.text(field, name, maxText)
	clean := path.Clean(name)
	if name != "" && (path.IsAbs(name) || clean == ".." || strings.HasPrefix(clean, "../") || strings.Contains(name, "\\")) {
		i.add(field, "want a path below the source's root, with slashes and without '..'")
	}
}

func (i *Invalid) runtime(at string, r ci.Runtime) {
	switch r.Executor {
	case "", "auto", "local", "docker":
	default:
		i.add(at+".executor", "there is no executor %q: want local or docker", r.Executor)
	}
	switch r.Isolation {
	case "", "none", "sandbox":
	default:
		i.add(at+".isolation", "there is no isolation %q: want none or sandbox", r.Isolation)
	}
	for _, f := range []struct{ name, value string }{{"image", r.Image}, {"type", r.Type}, {"size", r.Size}, {"network", r.Network}} {
		i.text(at+"."+f.name, f.value, maxText)
		if strings.ContainsAny(f.value, " \n\r\t") {
			i.add(at+"."+f.name, "want no spaces in it")
		}
	}
	i.file(at+".dockerfile", r.Dockerfile)
	if r.CPUs < 0 {
		i.add(at+".cpus", "want 0 or more")
	}
	if r.Memory < 0 {
		i.add(at+".memory", "want 0 or more bytes")
	}
	if r.Processes < 0 {
		i.add(at+".processes", "want 0 or more")
	}
}

func (i *Invalid) variables(at string, vars []ci.Variable) {
	if len(vars) > maxVariables {
		i.add(at, "%d variables: want at most %d", len(vars), maxVariables)
		return
	}
	seen := map[string]int{}
	for n, v := range vars {
		here := fmt.Sprintf("%s[%d]", at, n)
		if !validName(v.Name) {
			i.add(here+".name", "%.80q is not a name: want letters, digits and '_', not beginning with a digit", v.Name)
		} else if first, twice := seen[v.Name]; twice {
			i.add(here+".name", "%s is already %s[%d]", v.Name, at, first)
		} else {
			seen[v.Name] = n
		}
		i.text(here+".value", v.Value, maxValue)
		switch v.Kind {
		case "", ci.Plain:
		case ci.ParameterStore, ci.SecretsManager:
			if v.Value == "" {
				i.add(here+".value", "is missing: want what the secret is called in %s", v.Kind)
			}
		default:
			i.add(here+".kind", "%q is not a kind: want %s, %s or %s", v.Kind, ci.Plain, ci.ParameterStore, ci.SecretsManager)
		}
	}
}

func validName(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != "" && len(name) <= maxTagValue
}

func (i *Invalid) limits(l ci.Limits) {
	i.duration("limits.timeout", l.Timeout)
	i.duration("limits.queue", l.Queue)
	if l.Jobs < 0 || l.Jobs > maxJobs {
		i.add("limits.jobs", "want 0 to %d", maxJobs)
	}
	if l.Builds < 0 || l.Builds > maxJobs {
		i.add("limits.builds", "want 0 to %d", maxJobs)
	}
	if l.AutoRetry < 0 || l.AutoRetry > ci.MaxAutoRetry {
		i.add("limits.autoRetry", "want 0 to %d", ci.MaxAutoRetry)
	}
	switch l.Supersede {
	case ci.SupersedeNone, ci.SupersedeQueued, ci.SupersedeAll:
	default:
		i.add("limits.supersede", "%q: want %s or %s, or nothing", l.Supersede, ci.SupersedeQueued, ci.SupersedeAll)
	}
	switch {
	case l.WhenFull != ci.WhenFullQueue && l.WhenFull != ci.WhenFullRefuse:
		i.add("limits.whenFull", "%q: want %s, or nothing", l.WhenFull, ci.WhenFullRefuse)
	case l.WhenFull == ci.WhenFullRefuse && l.Builds == 0:
		i.add("limits.whenFull", "nothing is refused without limits.builds: say how many builds the project may have at once")
	}
}

// maxAfter is how many projects one may be built after.
const maxAfter = 50

func (i *Invalid) after(p ci.Project) {
	if len(p.After) > maxAfter {
		i.add("after", "%d projects: want at most %d", len(p.After), maxAfter)
		return
	}
	for n, up := range p.After {
		here := fmt.Sprintf("after[%d]", n)
		switch err := ci.CheckProjectName(up); {
		case err != nil:
			i.add(here, "%s", ci.Message(err))
		case up == p.Name:
			i.add(here, "a project cannot be built after itself")
		case slices.Index(p.After, up) < n:
			i.add(here, "%s is already after[%d]", up, slices.Index(p.After, up))
		}
	}
}

func (i *Invalid) duration(path string, d time.Duration) {
	if d != 0 && (d < minTime || d > maxTime) {
		i.add(path, "%s: want %s to %s, or 0 for the default", d, minTime, maxTime)
	}
}

func (i *Invalid) tags(tags map[string]string) {
	if len(tags) > maxTags {
		i.add("tags", "%d tags: want at most %d", len(tags), maxTags)
		return
	}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if key == "" {
			i.add("tags", "a tag's name is empty")
		}
		i.text("tags", key, maxTagKey)
		i.text("tags."+key, tags[key], maxTagValue)
	}
}

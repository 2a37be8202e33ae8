package buildspec

import (
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
	yaml "go.yaml.in/yaml/v4"
)

// theirFormats of reports are CodeBuild's, tests first, then coverage; ownFormats
// are what Sluice reads besides.
var (
	theirFormats = []string{
		"CUCUMBERJSON", "JUNITXML", "NUNITXML", "NUNIT3XML", "TESTNGXML", "VISUALSTUDIOTRX",
		"CLOVERXML", "COBERTURAXML", "JACOCOXML", "SIMPLECOV",
	}
	ownFormats = []string{"GOTESTJSON", "GOCOVER", "LCOV"}
	formats    = slices.Concat(theirFormats, ownFormats)
)

const (
	maxReportGroups = 5
	maxFallbacks    = 5
)

func (r *reader) reports(n *yaml.Node) []ci.ReportSpec {
	fs, _ := r.fields(n, "reports")
	var out []ci.ReportSpec
	for i, f := range fs {
		if i == maxReportGroups {
			r.warnf(f.key, "reports: CodeBuild takes at most %d report groups, here are %d; Sluice reads them all", maxReportGroups, len(fs))
		}
		if strings.TrimSpace(f.name) == "" {
			r.errorf(f.key, "reports: a report group needs a name")
			continue
		}
		out = append(out, r.report(f))
	}
	return out
}

func (r *reader) report(f field) ci.ReportSpec {
	where := "reports." + f.name
	s := ci.ReportSpec{Group: f.name, Format: "JUNITXML", Pos: r.pos(f.key)}
	r.mapping(f.value, where,
		key{name: "files", required: true, read: func(v *yaml.Node) { s.Files = r.texts(v, where+".files") }},
		key{name: "base-directory", read: func(v *yaml.Node) { s.Base = r.text(v, where+".base-directory") }},
		key{name: "discard-paths", read: func(v *yaml.Node) { s.Flatten = r.yes(v, where+".discard-paths") }},
		key{name: "file-format", read: func(v *yaml.Node) {
			text := r.text(v, where+".file-format")
			s.Format = strings.ToUpper(strings.TrimSpace(text))
			if !slices.Contains(formats, s.Format) {
				hint := ""
				if meant := nearest(s.Format, formats); meant != "" {
					hint = "did you mean " + meant + "? "
				}
				r.errorf(v, "%s.file-format: unknown format %s: %sexpected one of %s", where, quote(text), hint, strings.Join(formats, ", "))
			}
		}},
	)
	return s
}

// artifacts reads the primary artifact and, with their identifiers, the secondary ones.
func (r *reader) artifacts(n *yaml.Node, old bool) []ci.ArtifactSpec {
	if r.isNull(n) {
		return nil
	}
	fs, ok := r.fields(n, "artifacts")
	if !ok {
		return nil
	}
	var second *yaml.Node
	primary := ci.ArtifactSpec{Pos: r.pos(n)}
	keys := append(r.artifactKeys(&primary, "artifacts", old),
		key{name: "secondary-artifacts", read: func(v *yaml.Node) { second = v }})
	keys[0].required = !has(fs, "secondary-artifacts")
	var out []ci.ArtifactSpec
	if have := r.mapping(n, "artifacts", keys...); have["files"] != nil {
		out = append(out, primary)
	} else if second != nil {
		r.warnf(n, "artifacts: CodeBuild requires files even beside secondary-artifacts; here there is no primary artifact")
	}
	if second == nil {
		return out
	}
	ids, _ := r.fields(second, "artifacts.secondary-artifacts")
	for _, f := range ids {
		where := "artifacts.secondary-artifacts." + f.name
		if err := ci.CheckJobName(f.name); err != nil {
			r.errorf(f.key, "%s: an artifact identifier has letters, digits and _ - . only", where)
			continue
		}
		a := ci.ArtifactSpec{ID: f.name, Pos: r.pos(f.key)}
		keys := r.artifactKeys(&a, where, old)
		keys[0].required = true
		r.mapping(f.value, where, keys...)
		out = append(out, a)
	}
	return out
}

// artifactKeys are the keys of an artifact block; files comes first.
func (r *reader) artifactKeys(a *ci.ArtifactSpec, where string, old bool) []key {
	return []key{
		{name: "files", read: func(v *yaml.Node) { a.Files = r.texts(v, where+".files") }},
		{name: "name", read: func(v *yaml.Node) { a.Name = r.text(v, where+".name") }},
		{name: "base-directory", read: func(v *yaml.Node) { a.Base = r.text(v, where+".base-directory") }},
		{name: "exclude-paths", read: func(v *yaml.Node) { a.Excludes = r.texts(v, where+".exclude-paths") }},
		{name: "discard-paths", read: func(v *yaml.Node) { a.Flatten = r.yes(v, where+".discard-paths") }},
		{name: "enable-symlinks", read: func(v *yaml.Node) { a.Symlinks = r.yes(v, where+".enable-symlinks") }},
		{name: "s3-prefix", read: func(v *yaml.Node) { a.Prefix = r.text(v, where+".s3-prefix") }},
		{name: "type", read: func(v *yaml.Node) {
			if r.text(v, where+".type"); !old {
				r.warnf(v, "%s.type has no effect since version 0.2: remove it", where)
			}
		}},
	}
}

func (r *reader) cache(n *yaml.Node) *ci.CacheSpec {
	if r.isNull(n) {
		return nil
	}
	c := &ci.CacheSpec{Restore: true, Save: true, Pos: r.pos(n)}
	var fallbacks *yaml.Node
	have := r.mapping(n, "cache",
		key{name: "paths", read: func(v *yaml.Node) { c.Paths = r.texts(v, "cache.paths") }},
		key{name: "key", read: func(v *yaml.Node) { c.Key = strings.TrimSpace(r.text(v, "cache.key")) }},
		key{name: "fallback-keys", read: func(v *yaml.Node) {
			fallbacks = v
			c.Fallback = r.texts(v, "cache.fallback-keys")
			if len(c.Fallback) > maxFallbacks {
				r.errorf(v, "cache.fallback-keys: at most %d keys, found %d", maxFallbacks, len(c.Fallback))
			}
		}},
		key{name: "action", read: func(v *yaml.Node) { r.cacheAction(v, c) }},
	)
	if have == nil {
		return nil
	}
	if len(c.Fallback) > 0 && c.Key == "" {
		r.warnf(fallbacks, "cache.fallback-keys has no effect without cache.key")
		c.Fallback = nil
	}
	if len(c.Paths) == 0 {
		r.warnf(n, "cache: paths lists nothing, so nothing is cached")
		return nil
	}
	return c
}

// cacheAction: restore = never save, save = never restore, both = as without it.
func (r *reader) cacheAction(n *yaml.Node, c *ci.CacheSpec) {
	text := r.text(n, "cache.action")
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "restore":
		c.Save = false
	case "save":
		c.Restore = false
	case "both", "":
	default:
		r.errorf(n, "cache.action: expected restore, save or both, found %s", quote(text))
	}
}

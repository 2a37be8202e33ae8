package buildspec

import (
	"encoding/json"
	"fmt"
	"strings"
)

// object is a JSON Schema or a part of one.
type object map[string]any

// Schema is a JSON Schema (draft 2020-12) of the buildspecs that Compile takes,
// for editors. Unknown keys pass, as they do in Compile; what depends on other
// files, and cycles, it cannot see.
func Schema() []byte {
	root := object{
		"$schema":     "https://json-schema.org/draft/2020-12/schema",
		"title":       "AWS CodeBuild buildspec, as Sluice reads it",
		"description": "Versions 0.2 and 0.1, with batch builds.",
		"type":        "object",
		"properties": object{
			"version":               object{"description": "0.2, or 0.1 in older files. Without quotes: batch builds of CodeBuild refuse them.", "enum": []any{0.2, 0.1, "0.2", "0.1"}, "default": 0.2},
			"run-as":                user("The Linux user that runs all commands; a phase may name another. Default: root."),
			"env":                   envSchema(),
			"environment_variables": object{"description": "Version 0.1 only: env of today.", "type": orNull("object"), "properties": object{"plaintext": ref("variables"), "parameter-store": ref("parameters")}},
			"proxy":                 object{"description": "Read and ignored.", "type": orNull("object"), "properties": object{"upload-artifacts": ref("yesNo"), "logs": ref("yesNo")}},
			"batch":                 batchSchema(),
			"phases":                phasesSchema(),
			"reports":               object{"description": "Report groups by name.", "type": orNull("object"), "additionalProperties": ref("report")},
			"artifacts":             artifactsSchema(),
			"cache":                 cacheSchema(),
		},
		"anyOf": []any{
			object{"required": []string{"version", "phases"}},
			object{"required": []string{"batch"}, "not": object{"required": []string{"phases"}}},
		},
		"$defs": definitions(),
	}
	out, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("buildspec: the schema is not JSON: %v", err)) // it is made of constants
	}
	return append(out, '\n')
}

func ref(name string) object { return object{"$ref": "#/$defs/" + name} }

// about is a reference with its own description.
func about(name, text string) object {
	return object{"$ref": "#/$defs/" + name, "description": text}
}

func orNull(kinds ...string) []string { return append(kinds, "null") }

func user(text string) object {
	return object{"description": text, "type": orNull("string", "number", "boolean"), "pattern": `^[^\s:/]*$`}
}

// anyCase is a pattern for words in any case, since JSON Schema has no flag for it.
func anyCase(words ...string) string {
	var b strings.Builder
	for i, w := range words {
		if i > 0 {
			b.WriteByte('|')
		}
		for _, c := range w {
			if lower, upper := strings.ToLower(string(c)), strings.ToUpper(string(c)); lower != upper {
				b.WriteString("[" + upper + lower + "]")
			} else {
				b.WriteRune(c)
			}
		}
	}
	return `^\s*(` + b.String() + `)\s*$`
}

func definitions() object {
	scalar := []string{"string", "number", "boolean"}
	return object{
		"text":  object{"type": orNull(scalar...)},
		"value": object{"type": scalar},
		"name":  object{"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
		"yesNo": object{"anyOf": []any{
			object{"type": orNull("boolean")},
			object{"type": "string", "pattern": anyCase("yes", "no", "true", "false")},
		}},
		"list": object{"description": "A list of texts; a single text is a list of one.", "anyOf": []any{
			ref("text"), object{"type": "array", "items": ref("text")},
		}},
		"files": object{"description": "Globs: * stays inside one directory, ** crosses.", "anyOf": []any{
			ref("value"), object{"type": "array", "items": ref("text")},
		}},
		"commands": object{"anyOf": []any{
			ref("text"), object{"type": "array", "items": object{"description": "One command: one script. Quote it when it holds \": \" or begins with { or [.", "type": orNull(scalar...)}},
		}},
		"variables": object{"type": orNull("object"), "maxProperties": maxVariables, "propertyNames": object{"pattern": "^[^=]+$"}, "additionalProperties": ref("text")},
		"parameters": object{"type": orNull("object"), "maxProperties": maxVariables, "propertyNames": object{"pattern": "^[^=]+$"}, "additionalProperties": object{
			"type": scalar, "minLength": 1,
			"if": object{"type": "string", "pattern": "^arn:"}, "then": object{"pattern": `^arn:[^:]*:ssm:[^:]*:[^:]*:parameter/`},
		}},
		"secrets": object{"type": orNull("object"), "maxProperties": maxVariables, "propertyNames": object{"pattern": "^[^=]+$"}, "additionalProperties": object{
			"type": scalar,
			"if":   object{"type": "string", "pattern": "^arn:"},
			"then": object{"pattern": secretPattern(`arn:[^:]*:secretsmanager:[^:]*:[^:]*:secret:[^:]+`)},
			"else": object{"pattern": secretPattern(`[^:]+`)},
		}},
		"phase":    phaseSchema(),
		"report":   reportSchema(),
		"artifact": object{"type": "object", "required": []string{"files"}, "properties": artifactProperties()},
		"taskEnv": object{"type": orNull("object"), "properties": object{
			"compute-type": ref("text"), "fleet": ref("text"), "image": ref("text"), "type": ref("text"),
			"privileged-mode": ref("yesNo"), "variables": ref("variables"),
		}, "not": object{"required": []string{"fleet", "compute-type"}}},
	}
}

// secretPattern: id:json-key:version-stage:version-id, stage or version-id but not both.
func secretPattern(id string) string {
	return `^` + id + `(:[^:]*(:[^:]*:?)?|:[^:]*::[^:]*)?$`
}

func envSchema() object {
	return object{"type": orNull("object"), "properties": object{
		"shell":                 object{"description": "bash, or sh (default).", "anyOf": []any{object{"type": "null"}, object{"type": "string", "pattern": `^\s*((/(.*/)?)?(bash|sh))?\s*$`}}, "examples": []string{"bash"}},
		"variables":             about("variables", "Plain text, taken literally: $NAME is not replaced."),
		"parameter-store":       about("parameters", "Names or ARNs of parameters. The values are masked in the output."),
		"secrets-manager":       about("secrets", "secret-id:json-key:version-stage:version-id, all but the first optional. The values are masked in the output."),
		"exported-variables":    object{"description": "Variables whose values are kept with the build.", "anyOf": []any{object{"type": "null"}, ref("name"), object{"type": "array", "items": object{"anyOf": []any{object{"type": "null"}, ref("name")}}}}},
		"git-credential-helper": about("yesNo", "Give git inside the build the credentials of the source."),
	}}
}

func phasesSchema() object {
	properties := object{}
	for i, text := range []string{"Runtimes and tools.", "What the build needs.", "The build itself.", "After the build, also when it failed."} {
		properties[phaseNames[i]] = about("phase", text)
	}
	return object{"description": "The four phases, in their fixed order.", "type": "object", "minProperties": 1, "properties": properties, "additionalProperties": false}
}

func phaseSchema() object {
	retry := `[Rr][Ee][Tt][Rr][Yy]`
	count := `0*(\d|[1-9]\d|100)`
	return object{"type": orNull("object"), "properties": object{
		"run-as":     user("The Linux user that runs the commands of this phase."),
		"on-failure": object{"description": "ABORT, CONTINUE, RETRY, RETRY-count, RETRY-regex or RETRY-count-regex.", "anyOf": []any{object{"type": "null"}, object{"type": "string", "pattern": `^\s*([Aa][Bb][Oo][Rr][Tt]|[Cc][Oo][Nn][Tt][Ii][Nn][Uu][Ee]|` + retry + `(-` + count + `(-.+)?|-[0-9]*[^0-9-].*|--.*)?)?\s*$`}}},
		"commands":   about("commands", "Run in order, in one shell session; the first that fails ends the phase."),
		"finally":    about("commands", "Run after the commands, also when one failed."),
		"runtime-versions": object{"description": "install only: runtimes and their versions, such as nodejs: 18.", "type": orNull("object"), "additionalProperties": object{
			"type": []string{"string", "number", "boolean"}, "minLength": 1,
		}},
		"steps": object{"description": "GitHub Actions steps are not supported.", "not": object{}},
	}}
}

func reportSchema() object {
	return object{"type": "object", "required": []string{"files"}, "properties": object{
		"files":          ref("files"),
		"base-directory": ref("text"),
		"discard-paths":  ref("yesNo"),
		"file-format":    object{"description": strings.Join(theirFormats, ", ") + ", in any case. Sluice's own, which CodeBuild refuses: " + strings.Join(ownFormats, ", ") + ".", "type": orNull("string"), "pattern": anyCase(formats...), "default": "JUNITXML"},
	}}
}

func artifactProperties() object {
	return object{
		"files":           ref("files"),
		"name":            about("text", "Evaluated by the shell at the end of the build."),
		"base-directory":  about("text", "Relative to the source; may be a glob of directories."),
		"exclude-paths":   ref("list"),
		"discard-paths":   about("yesNo", "Keep the files without their directories."),
		"enable-symlinks": about("yesNo", "Keep links in zip files; in folders they are what they point to."),
		"s3-prefix":       about("text", "A folder before the name. Evaluated by the shell at the end of the build."),
		"type":            about("text", "Version 0.1 only; no effect."),
	}
}

func artifactsSchema() object {
	properties := artifactProperties()
	properties["secondary-artifacts"] = object{
		"description":   "More artifacts, by identifier.",
		"type":          orNull("object"),
		"propertyNames": object{"pattern": `^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`}, "additionalProperties": ref("artifact"),
	}
	return object{"anyOf": []any{
		object{"type": "null"},
		object{"type": "object", "properties": properties, "anyOf": []any{
			object{"required": []string{"files"}}, object{"required": []string{"secondary-artifacts"}},
		}},
	}}
}

func cacheSchema() object {
	return object{"type": orNull("object"), "properties": object{
		"paths":         about("list", "Directories or globs, absolute, ~/ or relative to the source."),
		"key":           about("text", "Evaluated by the shell: npm-$(codebuild-hash-files package-lock.json)."),
		"fallback-keys": object{"description": "Prefixes to try when the key is not there.", "anyOf": []any{ref("text"), object{"type": "array", "items": ref("text"), "maxItems": maxFallbacks}}},
		"action":        object{"type": orNull("string"), "pattern": anyCase("restore", "save", "both"), "description": "restore: never save. save: never restore. Default: both."},
	}}
}

func batchSchema() object {
	var kinds []any
	for _, k := range batchKinds {
		kinds = append(kinds, object{"required": []string{k}})
	}
	task := object{"type": "object", "required": []string{"identifier"}, "properties": object{
		"identifier":     object{"type": []string{"string", "number", "boolean"}, "pattern": `^\s*[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\s*$`},
		"buildspec":      about("text", "Path of the buildspec; default: this file."),
		"debug-session":  ref("yesNo"),
		"depend-on":      about("list", "build-graph only: identifiers of builds to wait for."),
		"env":            ref("taskEnv"),
		"ignore-failure": ref("yesNo"),
	}}
	tasks := object{"type": "array", "minItems": 1, "maxItems": maxBatch, "items": task}
	dynamicEnv := object{"type": orNull("object"), "properties": object{
		"compute-type": ref("list"), "image": ref("list"), "type": ref("list"), "privileged-mode": ref("list"),
		"variables": object{"type": orNull("object"), "maxProperties": maxAxes, "propertyNames": object{"pattern": "^[^=]+$"}, "additionalProperties": ref("list")},
	}}
	return object{"description": "Several builds at once; exactly one of " + strings.Join(batchKinds, ", ") + ".", "anyOf": []any{
		object{"type": "null"},
		object{"type": "object", "oneOf": kinds, "properties": object{
			"fast-fail":   about("yesNo", "Stop the others when one fails."),
			"build-list":  tasks,
			"build-graph": tasks,
			"build-matrix": object{"type": "object", "required": []string{"dynamic"}, "properties": object{
				"static":  object{"type": orNull("object"), "properties": object{"ignore-failure": ref("yesNo"), "env": ref("taskEnv")}},
				"dynamic": object{"type": "object", "properties": object{"buildspec": ref("list"), "env": dynamicEnv}},
			}},
			"build-fanout": object{"type": "object", "required": []string{"parallelism"}, "properties": object{
				"parallelism":    object{"anyOf": []any{object{"type": "integer", "minimum": 1, "maximum": maxBatch}, object{"type": "string", "pattern": `^\s*[0-9]+\s*$`}}},
				"ignore-failure": ref("yesNo"),
			}},
		}},
	}}
}

package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Limits of parameters.
const (
	maxParameters = 100
	maxChoices    = 100
)

// parameters checks those that a project declares.
func (i *Invalid) parameters(p ci.Project) {
	if len(p.Parameters) > maxParameters {
		i.add("parameters", "%d parameters: want at most %d", len(p.Parameters), maxParameters)
		return
	}
	seen := map[string]int{}
	for n, d := range p.Parameters {
		here := fmt.Sprintf("parameters[%d]", n)
		if !validName(d.Name) {
			i.add(here+".name", "%.80q is not a name: want letters, digits and '_', not beginning with a digit", d.Name)
		} else if first, twice := seen[d.Name]; twice {
			i.add(here+".name", "%s is already parameters[%d]", d.Name, first)
		} else {
			seen[d.Name] = n
		}
		i.text(here+".description", d.Description, maxText)
		i.declared(here, d)
		if d.Required && d.Default == "" && len(p.After) > 0 {
			i.add(here+".required", "a project that is built after others is started without parameters: give it a default")
		}
	}
}

func (i *Invalid) declared(here string, d ci.Parameter) {
	switch d.Type {
	case "", ci.ParameterString, ci.ParameterText, ci.ParameterBoolean:
	case ci.ParameterChoice:
		if len(d.Choices) == 0 || len(d.Choices) > maxChoices {
			i.add(here+".choices", "want 1 to %d of them", maxChoices)
			return
		}
		for k, c := range d.Choices {
			i.text(fmt.Sprintf("%s.choices[%d]", here, k), c, maxText)
		}
	case ci.ParameterPassword:
		if d.Default != "" {
			i.add(here+".default", "a password has none: all who see the project would see it")
		}
		return
	default:
		i.add(here+".type", "there is no type %q: want string, text, boolean, choice or password", d.Type)
		return
	}
	if d.Type != ci.ParameterChoice && len(d.Choices) > 0 {
		i.add(here+".choices", "are for the type choice")
	}
	if d.Default != "" {
		i.value(here+".default", d, d.Default)
	}
}

// value checks what a parameter is given, and gives it as builds have it.
func (i *Invalid) value(here string, d ci.Parameter, v string) string {
	i.text(here, v, maxValue)
	switch d.Type {
	case "", ci.ParameterString, ci.ParameterPassword:
		if strings.ContainsAny(v, "\r\n") {
			i.add(here, "want one line")
		}
	case ci.ParameterBoolean:
		switch strings.ToLower(v) {
		case "true", "yes", "on", "1":
			return "true"
		case "false", "no", "off", "0", "":
			return "false"
		}
		i.add(here, "%.80q: want true or false", v)
	case ci.ParameterChoice:
		if !slices.Contains(d.Choices, v) {
			i.add(here, "%.80q: want one of %s", v, strings.Join(d.Choices, ", "))
		}
	}
	return v
}

// given makes variables of the parameters that a build is started with. All that
// is wrong comes back at once.
func (a *App) given(ctx context.Context, p ci.Project, values map[string]string, variables []ci.Variable) ([]ci.Variable, error) {
	in := &Invalid{}
	declared := map[string]bool{}
	var names []string
	var vars []ci.Variable
	for _, d := range p.Parameters {
		declared[d.Name] = true
		names = append(names, d.Name)
		here := "parameters." + d.Name
		v, ok := values[d.Name]
		switch {
		case ok:
		case d.Default != "":
			v = d.Default
		case d.Required:
			in.add(here, "is missing: the project wants it for each build")
			continue
		case d.Type == ci.ParameterChoice:
			v = d.Choices[0]
		}
		v = in.value(here, d, v)
		if d.Required && v == "" {
			in.add(here, "is empty: the project wants it for each build")
		}
		if d.Type != ci.ParameterPassword || v == "" {
			vars = append(vars, ci.Variable{Name: d.Name, Value: v})
			continue
		}
		if a.cfg.Seal == nil {
			return nil, fmt.Errorf("parameter %s: this server cannot seal passwords: %w", d.Name, ci.ErrUnavailable)
		}
		sealed, err := a.cfg.Seal(ctx, ci.SealName(p.Name, d.Name), v)
		if err != nil {
			return nil, fmt.Errorf("seal parameter %s: %w", d.Name, err)
		}
		vars = append(vars, ci.Variable{Name: d.Name, Value: d.Name + ":" + sealed, Kind: ci.LocalSecret})
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		switch {
		case declared[name]:
		case len(names) == 0:
			in.add("parameters."+printName(name), "the project has no parameters: give a variable instead")
		default:
			in.add("parameters."+printName(name), "the project has no such parameter: it has %s", strings.Join(names, ", "))
		}
	}
	for n, v := range variables {
		if declared[v.Name] {
			in.add(fmt.Sprintf("variables[%d].name", n), "%s is a parameter of the project: give it as one", v.Name)
		}
	}
	return vars, in.err()
}

// printName is a name that may be anything, in the path of a field.
func printName(name string) string {
	if validName(name) {
		return name
	}
	return fmt.Sprintf("%.80q", name)
}

// asked is a sum of what a build was asked for with, to tell a request that is
// made twice from another one under the same key. Passwords are not in it: a sum
// of a short one would tell it.
func (s Start) asked(p ci.Project) string {
	s.Key = ""
	if len(s.Parameters) > 0 {
		s.Parameters = maps.Clone(s.Parameters)
		for _, d := range p.Parameters {
			if d.Type == ci.ParameterPassword {
				delete(s.Parameters, d.Name)
			}
		}
	}
	text, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:12])
}

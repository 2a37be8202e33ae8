package price

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Table is what places cost. The zero value prices nothing.
type Table struct {
	Currency string
	lines    []line
}

// line is a price and the places it is for; what is "" fits all.
type line struct {
	executor, envType, size string
	price                   float64
	unit                    time.Duration
}

// Rate is the price of a place. One that no line is for costs nothing. Whether a
// place is billed by the minute or by the second its line says; without one, it is
// as CodeBuild does it.
func (t *Table) Rate(executor, envType, size string) ci.Rate {
	for _, l := range t.lines {
		if fits(l.executor, executor) && fits(l.envType, envType) && fits(l.size, size) {
			return ci.Rate{Price: l.price, Unit: l.unit, Currency: t.Currency}
		}
	}
	r := ci.Rate{Unit: time.Minute, Currency: t.Currency}
	if ci.BySecond(envType, size) {
		r.Unit = time.Second
	}
	return r
}

// fits compares names as CodeBuild's are written in many ways: general1.small,
// BUILD_GENERAL1_SMALL.
func fits(want, got string) bool { return want == "" || want == normal(got) }

func normal(s string) string {
	s = strings.NewReplacer("-", "_", ".", "_", " ", "_").Replace(strings.ToUpper(strings.TrimSpace(s)))
	return strings.TrimPrefix(s, "BUILD_")
}

// maxPrice of a unit: what is more is a slip of the pen, and would overflow sums.
const maxPrice = 1e6

// Parse reads a table. All that is wrong with it comes back at once, each with
// its line and column; name is what the file is called in there.
//
//	currency: USD
//	prices:
//	  - {size: BUILD_GENERAL1_SMALL, minute: 0.005}
//	  - {type: LINUX_LAMBDA_CONTAINER, size: BUILD_LAMBDA_1GB, second: 0.00002}
//	  - {executor: local, minute: 0}
func Parse(name string, text []byte) (*Table, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", name, err, ci.ErrInvalid)
	}
	t := &Table{}
	if len(doc.Content) == 0 {
		return t, nil
	}
	r := &reader{name: name}
	for key, value := range r.pairs(doc.Content[0], "the table", "currency, prices") {
		switch key.Value {
		case "currency":
			t.Currency = r.currency(value)
		case "prices":
			if value.Kind != yaml.SequenceNode {
				r.bad(value, "prices: want a list, such as '- {size: BUILD_GENERAL1_SMALL, minute: 0.005}'")
				continue
			}
			for i, n := range value.Content {
				t.lines = append(t.lines, r.line(n, i+1))
			}
		default:
			r.bad(key, "there is no %q here; there are currency and prices", key.Value)
		}
	}
	if t.Currency == "" && len(t.lines) > 0 && len(r.wrong) == 0 {
		r.bad(doc.Content[0], "currency is missing: want a code of three letters, such as USD")
	}
	if len(r.wrong) > 0 {
		return nil, fmt.Errorf("%w: %w", errors.Join(r.wrong...), ci.ErrInvalid)
	}
	return t, nil
}

// reader collects what is wrong.
type reader struct {
	name  string
	wrong []error
}

func (r *reader) bad(n *yaml.Node, format string, args ...any) {
	r.wrong = append(r.wrong, fmt.Errorf("%s:%d:%d: "+format, append([]any{r.name, n.Line, n.Column}, args...)...))
}

// pairs are the entries of a mapping; one that is twice in it is refused.
func (r *reader) pairs(n *yaml.Node, what, known string) func(func(key, value *yaml.Node) bool) {
	return func(yield func(key, value *yaml.Node) bool) {
		if n.Kind != yaml.MappingNode {
			r.bad(n, "%s: want %s, each with a value", what, known)
			return
		}
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i]
			if seen[key.Value] {
				r.bad(key, "%s: %q is there twice", what, key.Value)
				continue
			}
			seen[key.Value] = true
			if !yield(key, n.Content[i+1]) {
				return
			}
		}
	}
}

func (r *reader) currency(n *yaml.Node) string {
	ok := n.Kind == yaml.ScalarNode && len(n.Value) == 3
	for _, c := range n.Value {
		ok = ok && 'A' <= c && c <= 'Z'
	}
	if !ok {
		r.bad(n, "currency: want a code of three capital letters, such as USD")
		return ""
	}
	return n.Value
}

func (r *reader) line(n *yaml.Node, number int) line {
	what := "price " + strconv.Itoa(number)
	const known = "executor, type, size, minute or second"
	l := line{unit: -1}
	for key, value := range r.pairs(n, what, known) {
		if value.Kind != yaml.ScalarNode {
			r.bad(value, "%s: %s: want one value", what, key.Value)
			continue
		}
		switch key.Value {
		case "executor":
			l.executor = normal(value.Value)
		case "type":
			l.envType = normal(value.Value)
		case "size":
			l.size = normal(value.Value)
		case "minute", "second":
			if l.unit >= 0 {
				r.bad(key, "%s: has a price by the minute and one by the second: want one", what)
			}
			l.unit = time.Minute
			if key.Value == "second" {
				l.unit = time.Second
			}
			var err error
			if l.price, err = strconv.ParseFloat(value.Value, 64); err != nil || math.IsNaN(l.price) || l.price < 0 || l.price > maxPrice {
				r.bad(value, "%s: %s: %q is no price: want a number from 0 to %.0f, such as 0.005", what, key.Value, value.Value, maxPrice)
			}
		default:
			r.bad(key, "%s: there is no %q here; there are %s", what, key.Value, known)
		}
	}
	if l.unit < 0 && n.Kind == yaml.MappingNode {
		r.bad(n, "%s: has no price: want minute, or second", what)
	}
	return l
}

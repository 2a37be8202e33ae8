package api_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/api"
	"github.com/sluice-ci/sluice/internal/app"
	"github.com/sluice-ci/sluice/internal/ci"
)

// TestClientKnowsTheWire holds the types of the client beside those that the
// server sends and reads: the same fields, under the same names, of the same kinds.
func TestClientKnowsTheWire(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ server, client any }{
		{app.BuildInfo{}, client.Build{}}, {ci.Project{}, client.Project{}}, {ci.Event{}, client.Event{}},
		{app.JobSteps{}, client.JobSteps{}}, {app.LinePage{}, client.LinePage{}}, {app.Retained{}, client.Retained{}}, {ci.ReportRun{}, client.ReportRun{}}, {ci.TestRecord{}, client.TestRecord{}}, {app.JobArtifact{}, client.JobArtifact{}}, {app.JobReport{}, client.JobReport{}},
		{api.StartBuild{}, client.StartBuild{}}, {ci.User{}, client.User{}}, {app.Me{}, client.Me{}}, {ci.Token{}, client.Token{}},
		{ci.UsageRow{}, client.UsageRow{}}, {ci.BudgetStatus{}, client.BudgetStatus{}}, {ci.Load{}, client.Load{}}, {app.Because{}, client.Because{}},
		{api.Retry{}, client.RetryOptions{}}, {app.Upload{}, client.Upload{}},
		{api.NewToken{}, client.NewToken{}}, {app.IssuedToken{}, client.IssuedToken{}}, {api.Fault{}, client.Error{}}, {ci.AuditEntry{}, client.AuditEntry{}}, {api.List[ci.Project]{}, client.Page[client.Project]{}},
		{api.NewLogin{}, client.NewLogin{}}, {api.LoginMethods{}, client.LoginMethods{}}, {api.NewHandover{}, client.NewHandover{}}, {app.GroupInfo{}, client.Group{}}, {api.NewPassword{}, client.NewPassword{}},
		{ci.Target{}, client.Target{}}, {api.PutTarget{}, client.PutTarget{}}, {app.TargetPut{}, client.TargetPut{}},
		{app.TargetTest{}, client.TargetTest{}}, {ci.Delivery{}, client.Delivery{}},
		{app.SecretInfo{}, client.SecretInfo{}}, {api.NewSecret{}, client.NewSecret{}}, {ci.KeyRotation{}, client.KeyRotation{}}, {api.NewIDToken{}, client.NewIDToken{}}, {app.IDToken{}, client.IDToken{}},
	} {
		same(t, fmt.Sprintf("%T", c.client), reflect.TypeOf(c.server), reflect.TypeOf(c.client), map[[2]reflect.Type]bool{})
	}
}

func same(t *testing.T, at string, s, c reflect.Type, seen map[[2]reflect.Type]bool) {
	t.Helper()
	raw := reflect.TypeFor[json.RawMessage]()
	if s == c || c == raw || seen[[2]reflect.Type{s, c}] {
		return
	}
	seen[[2]reflect.Type{s, c}] = true
	if s.Kind() != c.Kind() || s == reflect.TypeFor[time.Time]() {
		t.Errorf("%s: the server has %s, the client %s", at, s, c)
		return
	}
	switch s.Kind() {
	case reflect.Pointer, reflect.Slice:
		same(t, at+"[]", s.Elem(), c.Elem(), seen)
	case reflect.Map:
		same(t, at+"{}", s.Elem(), c.Elem(), seen)
	case reflect.Struct:
		sf, cf := fields(s), fields(c)
		for name, f := range sf {
			if o, ok := cf[name]; !ok {
				t.Errorf("%s: the client lacks %q", at, name)
			} else {
				same(t, at+"."+name, f, o, seen)
			}
		}
		for name := range cf {
			if _, ok := sf[name]; !ok {
				t.Errorf("%s: the server knows no %q", at, name)
			}
		}
	}
}

// fields lists the fields of a struct as JSON has them.
func fields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() || name == "-" || f.Anonymous && name == "" {
			continue
		}
		out[name] = f.Type
	}
	return out
}

// TestStatusesAreTheSame keeps the client's copy true.
func TestStatusesAreTheSame(t *testing.T) {
	t.Parallel()
	var got []string
	for _, s := range ci.Statuses() {
		got = append(got, string(s))
		if s.Done() != client.Done(string(s)) {
			t.Errorf("%s: the client says done = %v", s, client.Done(string(s)))
		}
	}
	want := []string{client.Queued, client.Running, client.Waiting, client.Succeeded, client.Unstable, client.Failed, client.Errored, client.TimedOut, client.Canceled, client.Skipped}
	if !slices.Equal(got, want) {
		t.Errorf("the server has %v, the client %v", got, want)
	}
}

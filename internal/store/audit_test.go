package store_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

func TestAuditIsListed(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		start := time.Unix(1_800_000_000, 123).UTC()
		var all []ci.AuditEntry // the newest first
		for i := range 9 {
			e := ci.AuditEntry{
				Time: start.Add(time.Duration(i/2) * time.Minute), User: []string{"ann", "bob"}[i%2], Verb: []string{"project.create", "project.delete", "projects.x"}[i%3],
				Project: fmt.Sprint("p", i%4), Build: "b", Detail: "ü\x00'\"\n", Address: "::1", Token: "T", Request: "R",
			}
			if err := db.Note(ctx, e); err != nil {
				t.Fatal(err)
			}
			e.ID = int64(i + 1)
			all = append([]ci.AuditEntry{e}, all...)
		}
		for name, c := range map[string]struct {
			f    store.AuditFilter
			want func(ci.AuditEntry) bool
		}{
			"all":         {store.AuditFilter{}, func(ci.AuditEntry) bool { return true }},
			"user":        {store.AuditFilter{User: "bob"}, func(e ci.AuditEntry) bool { return e.User == "bob" }},
			"project":     {store.AuditFilter{Project: "p2"}, func(e ci.AuditEntry) bool { return e.Project == "p2" }},
			"verb":        {store.AuditFilter{Verb: "project.delete"}, func(e ci.AuditEntry) bool { return e.Verb == "project.delete" }},
			"kind":        {store.AuditFilter{Verb: "project"}, func(e ci.AuditEntry) bool { return strings.HasPrefix(e.Verb, "project.") }},
			"time":        {store.AuditFilter{Since: start.Add(time.Minute), Until: start.Add(3 * time.Minute)}, func(e ci.AuditEntry) bool { return e.ID > 2 && e.ID < 7 }},
			"several":     {store.AuditFilter{User: "ann", Verb: "project", Since: start.Add(time.Minute)}, func(e ci.AuditEntry) bool { return e.User == "ann" && e.Verb[7] == '.' && e.ID > 2 }},
			"none":        {store.AuditFilter{User: "b\x00"}, func(ci.AuditEntry) bool { return false }},
			"part of one": {store.AuditFilter{Verb: "proj"}, func(ci.AuditEntry) bool { return false }},
		} {
			var want, got []ci.AuditEntry
			for _, e := range all {
				if c.want(e) {
					want = append(want, e)
				}
			}
			f := c.f
			f.Limit = 2
			for more := true; more; {
				page, next, err := db.Audit(ctx, f)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, page...)
				f.Cursor, more = next, next != ""
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s: got %+v\nwant %+v", name, got, want)
			}
		}
		_, next, err := db.Audit(ctx, store.AuditFilter{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []store.AuditFilter{{Cursor: "x"}, {Cursor: next, User: "ann"}, {Limit: -1}, {Limit: 1001}} {
			_, _, err := db.Audit(ctx, f)
			want(t, fmt.Sprint(f), err, ci.ErrInvalid)
		}
		if n, err := db.TrimAudit(ctx, start.Add(time.Minute)); err != nil || n != 2 {
			t.Errorf("trim: got %d, %v; want 2", n, err)
		}
		if left, _, err := db.Audit(ctx, store.AuditFilter{}); err != nil || !reflect.DeepEqual(left, all[:7]) {
			t.Errorf("got %+v, %v after trimming", left, err)
		}
	})
}

// TestNoting: a change and its entry are there together, or neither is.
func TestNoting(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		list := func() []ci.AuditEntry {
			all, _, err := db.Audit(ctx, store.AuditFilter{})
			if err != nil {
				t.Fatal(err)
			}
			return all
		}
		noting := store.Noting(ctx, ci.AuditEntry{Verb: "build.start", Detail: ", quickly"})
		b, made, err := db.Create(noting, ci.Build{ID: "b1", Project: "p"}, "key")
		if err != nil || !made || !store.Noted(noting) {
			t.Fatalf("got made %v, noted %v, %v", made, store.Noted(noting), err)
		}
		if got := list(); len(got) != 1 || got[0].Build != b.ID || got[0].Detail != "build 1, quickly" {
			t.Errorf("got %+v", got)
		}
		// It is written once, whatever else is done with the context.
		if _, err := db.PutProject(noting, ci.Project{Name: "pp"}); err != nil {
			t.Fatal(err)
		}
		// What changes nothing is not noted.
		again := store.Noting(ctx, ci.AuditEntry{Verb: "build.start"})
		if _, made, err := db.Create(again, ci.Build{ID: "b2", Project: "p"}, "key"); err != nil || made || store.Noted(again) {
			t.Errorf("got made %v, noted %v, %v; want nothing done", made, store.Noted(again), err)
		}
		refused := store.Noting(ctx, ci.AuditEntry{Verb: "project.create"})
		if _, err := db.PutProject(refused, ci.Project{Name: "pp"}); !errors.Is(err, ci.ErrConflict) || store.Noted(refused) {
			t.Errorf("got noted %v, %v; want a conflict", store.Noted(refused), err)
		}
		// An entry that cannot be written takes the change with it.
		broken := store.Noting(ctx, ci.AuditEntry{Verb: "project.create", Time: time.Date(20000, 1, 1, 0, 0, 0, 0, time.UTC)})
		if _, err := db.PutProject(broken, ci.Project{Name: "qq"}); err == nil || store.Noted(broken) {
			t.Errorf("got noted %v, %v; want an error", store.Noted(broken), err)
		}
		_, err = db.Project(ctx, "qq")
		want(t, "a project whose entry was not written", err, ci.ErrNotFound)
		if got := list(); len(got) != 1 {
			t.Errorf("got %+v; want the one entry", got)
		}
	})
}

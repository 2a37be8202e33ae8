package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
	"github.com/sluice-ci/sluice/internal/store"
)

func addSecret(t *testing.T, db *store.DB, project, name, id string, number int64) {
	t.Helper()
	v := ci.SecretVersion{Number: number, Key: "k1", By: "ann", Sealed: fmt.Appendf(nil, "sealed %s %d", id, number)}
	if _, err := db.AddSecretVersion(t.Context(), ci.Secret{ID: id, Project: project, Name: name}, v); err != nil {
		t.Fatal(err)
	}
}

func withKey(t *testing.T, url string) *store.DB {
	t.Helper()
	db := openURL(t, url)
	if err := db.AddSecretKey(t.Context(), "k1", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := db.PutProject(t.Context(), ci.Project{Name: "app"}); err != nil {
		t.Fatal(err)
	}
	return db
}

func TestSecretVersions(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db, ctx := withKey(t, url), t.Context()
		addSecret(t, db, "app", "/a", "s1", 1)
		addSecret(t, db, "app", "/a", "s1", 2)
		addSecret(t, db, "", "/a", "s2", 1)
		addSecret(t, db, "#own", "/a", "s3", 1)
		for what, c := range map[string]struct {
			s    ci.Secret
			v    ci.SecretVersion
			want error
		}{
			"the same number again":     {ci.Secret{ID: "s1", Project: "app", Name: "/a"}, ci.SecretVersion{Number: 2, Key: "k1"}, ci.ErrConflict},
			"another of that name":      {ci.Secret{ID: "sx", Project: "app", Name: "/a"}, ci.SecretVersion{Number: 3, Key: "k1"}, ci.ErrConflict},
			"a key that is not current": {ci.Secret{ID: "s1", Project: "app", Name: "/a"}, ci.SecretVersion{Number: 3, Key: "k0"}, ci.ErrConflict},
			"no first version":          {ci.Secret{ID: "s4", Project: "app", Name: "/b"}, ci.SecretVersion{Number: 2, Key: "k1"}, ci.ErrConflict},
			"a project that is not":     {ci.Secret{ID: "s4", Project: "gone", Name: "/b"}, ci.SecretVersion{Number: 1, Key: "k1"}, ci.ErrNotFound},
		} {
			_, err := db.AddSecretVersion(ctx, c.s, c.v)
			want(t, what, err, c.want)
		}
		s, err := db.Secret(ctx, "app", "/a")
		if err != nil || s.ID != "s1" || s.Version != 2 || s.Created.IsZero() {
			t.Fatalf("got %+v, %v", s, err)
		}
		versions, err := db.SecretVersions(ctx, "s1")
		if err != nil || len(versions) != 2 || versions[0].Number != 2 || string(versions[1].Sealed) != "sealed s1 1" || versions[1].Project != "app" || versions[1].Name != "/a" || versions[0].By != "ann" {
			t.Fatalf("got %+v, %v", versions, err)
		}
		for _, project := range []string{"app", "", "#own"} {
			if list, err := db.Secrets(ctx, project); err != nil || len(list) != 1 || list[0].Project != project {
				t.Errorf("%q: got %+v, %v", project, list, err)
			}
		}
		if n, err := db.PruneSecret(ctx, "app", "/a", 1); err != nil || n != 1 {
			t.Errorf("pruned %d, %v", n, err)
		}
		_, err = db.SecretVersion(ctx, "s1", 1)
		want(t, "a pruned version", err, ci.ErrNotFound)
		if v, err := db.SecretVersion(ctx, "s1", 2); err != nil || v.Number != 2 {
			t.Errorf("got %+v, %v", v, err)
		}
		want(t, "grant to what is not there", db.GrantSecret(ctx, "/a", []string{"gone"}), ci.ErrNotFound)
		if err := db.GrantSecret(ctx, "/a", []string{"app", "app", ci.AllProjects}); err != nil {
			t.Error(err)
		}
		if s, err := db.Secret(ctx, "", "/a"); err != nil || fmt.Sprint(s.Projects) != "[* app]" || !s.ForProject("other") {
			t.Errorf("got %+v, %v", s, err)
		}
		// Who takes the name of a deleted project inherits nothing.
		if err := db.DeleteProject(ctx, "app", false); err != nil {
			t.Fatal(err)
		}
		if _, err := db.PutProject(ctx, ci.Project{Name: "app"}); err != nil {
			t.Fatal(err)
		}
		if list, err := db.Secrets(ctx, "app"); err != nil || len(list) != 0 {
			t.Errorf("a project made anew has %+v, %v", list, err)
		}
		if s, err := db.Secret(ctx, "", "/a"); err != nil || fmt.Sprint(s.Projects) != "[*]" {
			t.Errorf("got %+v, %v", s, err)
		}
		if err := db.DeleteSecret(ctx, "", "/a"); err != nil {
			t.Error(err)
		}
		want(t, "deleted twice", db.DeleteSecret(ctx, "", "/a"), ci.ErrNotFound)
	})
}

func TestSecretKeys(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db, ctx := withKey(t, url), t.Context()
		addSecret(t, db, "app", "/a", "s1", 1)
		addSecret(t, db, "app", "/b", "s2", 1)
		want(t, "not after the current one", db.AddSecretKey(ctx, "k2", ""), ci.ErrConflict)
		if err := db.AddSecretKey(ctx, "k2", "k1"); err != nil {
			t.Fatal(err)
		}
		all, err := db.SealedOtherwise(ctx, "k2", "", 0, 10)
		if err != nil || len(all) != 2 {
			t.Fatalf("got %+v, %v", all, err)
		}
		if rest, err := db.SealedOtherwise(ctx, "k2", all[0].Secret, all[0].Number, 10); err != nil || len(rest) != 1 || rest[0].Secret != "s2" {
			t.Errorf("got %+v, %v", rest, err)
		}
		after := all[0]
		after.Key, after.Sealed = "k2", []byte("anew")
		stale := all[1]
		stale.Key = "k0" // somebody else sealed it meanwhile
		if err := db.Reseal(ctx, []ci.SecretVersion{all[0], stale}, []ci.SecretVersion{after, after}); err != nil {
			t.Fatal(err)
		}
		if err := db.ForgetSecretKeys(ctx); err != nil {
			t.Fatal(err)
		}
		keys, err := db.SecretKeys(ctx)
		if err != nil || len(keys) != 2 || keys[0].ID != "k1" || keys[0].Values != 1 || keys[1].ID != "k2" || keys[1].Values != 1 {
			t.Errorf("got %+v, %v; want both, with a value each", keys, err)
		}
		if err := db.DeleteSecret(ctx, "app", "/b"); err != nil {
			t.Fatal(err)
		}
		if err := db.ForgetSecretKeys(ctx); err != nil {
			t.Fatal(err)
		}
		if keys, err = db.SecretKeys(ctx); err != nil || len(keys) != 1 || keys[0].ID != "k2" {
			t.Errorf("got %+v, %v; want k2 alone", keys, err)
		}
	})
}

func TestSecretUses(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db, ctx := withKey(t, url), t.Context()
		var wg sync.WaitGroup
		made := make([]bool, 8)
		got := make([]ci.SecretUse, 8)
		for i := range made {
			wg.Go(func() {
				var err error
				got[i], made[i], err = db.UseSecret(ctx, ci.SecretUse{Build: "b", Source: "project", Ref: "/a", Secret: "s1", Version: int64(i + 1), Time: time.Unix(1_800_000_000, 0)})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		n := 0
		for i := range made {
			if made[i] {
				n++
			}
			if got[i].Version != got[0].Version || got[i].Secret != "s1" {
				t.Errorf("got %+v and %+v of one build", got[i], got[0])
			}
		}
		if n != 1 {
			t.Errorf("%d were the first", n)
		}
		if last, err := db.LastUse(ctx, "s1"); err != nil || last.Build != "b" || last.Version != got[0].Version {
			t.Errorf("got %+v, %v", last, err)
		}
		if _, _, err := db.Create(ctx, ci.Build{ID: "b", Project: "app"}, ""); err != nil {
			t.Fatal(err)
		}
		if err := db.Append(ctx, storetestFinished("b")); err != nil {
			t.Fatal(err)
		}
		if err := db.DeleteBuild(ctx, "b"); err != nil {
			t.Fatal(err)
		}
		_, err := db.LastUse(ctx, "s1")
		want(t, "of a deleted build", err, ci.ErrNotFound)
	})
}

func storetestFinished(id ci.BuildID) ci.Event {
	return ci.NewEvent(ci.EventBuildFinished, ci.Build{ID: id, Project: "app", Status: ci.Canceled})
}

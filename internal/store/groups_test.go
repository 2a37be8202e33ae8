package store_test

import (
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/sluice-ci/sluice/internal/ci"
)

func TestGroups(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		for _, name := range []string{"ann", "bob"} {
			if _, err := db.PutUser(ctx, ci.User{Name: name, Role: ci.RoleViewer, Password: "secret"}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := db.PutUser(ctx, ci.User{Name: "ann", Revision: -1})
		want(t, "one that must be new", err, ci.ErrConflict)
		if eve, err := db.PutUser(ctx, ci.User{Name: "carol", Revision: -1}); err != nil || eve.Revision != 1 {
			t.Errorf("got %+v, %v", eve, err)
		}
		web, err := db.PutGroup(ctx, ci.Group{Name: "web", Role: ci.RoleViewer, Projects: map[string]ci.Role{"shop": ci.RoleAdmin}, Description: "ü"})
		if err != nil || web.Revision != 1 || web.Created.IsZero() {
			t.Fatalf("got %+v, %v", web, err)
		}
		if _, err := db.PutGroup(ctx, ci.Group{Name: "Ops"}); err != nil {
			t.Fatal(err)
		}
		old := web
		web.Role = ci.RoleBuilder
		if web, err = db.PutGroup(ctx, web); err != nil || web.Revision != 2 {
			t.Fatalf("got %+v, %v", web, err)
		}
		_, err = db.PutGroup(ctx, old)
		want(t, "an old revision", err, ci.ErrConflict)
		_, err = db.PutGroup(ctx, ci.Group{Name: "new", Revision: 2})
		want(t, "a change of what is not there", err, ci.ErrNotFound)
		_, err = db.PutGroup(ctx, ci.Group{})
		want(t, "without a name", err, ci.ErrInvalid)
		if got, err := db.Groups(ctx, "web", "nothing", "x\x00"); err != nil || !reflect.DeepEqual(got, []ci.Group{web}) {
			t.Errorf("got %+v, %v; want %+v", got, err, web)
		}
		if all, err := db.Groups(ctx); err != nil || len(all) != 2 || all[0].Name != "Ops" {
			t.Errorf("got %+v, %v", all, err)
		}
		join := func(user string, groups ...string) (ci.User, error) {
			return db.ChangeGroups(ctx, user, func(u *ci.User) { u.Groups = append(u.Groups, groups...) })
		}
		ann, err := join("ann", "web", "Ops", "web")
		if err != nil || !slices.Equal(ann.Groups, []string{"Ops", "web"}) || ann.Revision != 2 {
			t.Fatalf("got %+v, %v", ann, err)
		}
		if again, err := join("ann", "web"); err != nil || again.Revision != 2 {
			t.Errorf("what changes nothing: %+v, %v", again, err)
		}
		_, err = join("ann", "nothing")
		want(t, "no such group", err, ci.ErrNotFound)
		_, err = join("eve", "web")
		want(t, "no such user", err, ci.ErrNotFound)
		// Many at once: nobody is lost.
		var work sync.WaitGroup
		for i := range 8 {
			name := fmt.Sprint("g", i)
			if _, err := db.PutGroup(ctx, ci.Group{Name: name}); err != nil {
				t.Fatal(err)
			}
			work.Go(func() {
				if _, err := join("bob", name); err != nil {
					t.Error(err)
				}
			})
		}
		work.Wait()
		bob, err := db.User(ctx, "bob")
		if err != nil || len(bob.Groups) != 8 || bob.Password != "secret" || bob.Role != ci.RoleViewer {
			t.Errorf("got %+v, %v; want him in 8 groups", bob, err)
		}
		if err := db.DeleteGroup(ctx, "web"); err != nil {
			t.Fatal(err)
		}
		want(t, "twice", db.DeleteGroup(ctx, "web"), ci.ErrNotFound)
		if got, err := db.User(ctx, "ann"); err != nil || !slices.Equal(got.Groups, []string{"Ops"}) || got.Revision != 3 {
			t.Errorf("got %+v, %v; want her out of it", got, err)
		}
	})
}

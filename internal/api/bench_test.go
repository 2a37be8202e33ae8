package api_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/internal/ci"
)

// BenchmarkRequests measures requests from the handler down to the store, without
// the network; floor of all is a request that only says 404.
func BenchmarkRequests(b *testing.B) {
	w := newWorld(b)
	w.project("web", whole)
	w.start("web", client.StartBuild{})
	w.done("web", 1)
	for i := range 2000 {
		_, _, err := w.store.Create(b.Context(), ci.Build{
			ID: ci.NewBuildID(time.Now()), Project: "web", Status: ci.Queued, Queued: time.Now(), Initiator: "admin",
			Source: ci.Source{Type: "git", Location: "https://example.com/x.git"},
		}, fmt.Sprint("bench ", i))
		if err != nil {
			b.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, method, path string
		want               int
	}{
		{"floor", "GET", "/nothing", 404},
		{"list-50", "GET", "/projects/web/builds?limit=50", 200},
		{"list-50-all", "GET", "/builds?limit=50", 200},
		{"project", "GET", "/projects/web", 200},
		{"build", "GET", "/projects/web/builds/1", 200},
		{"log", "GET", "/projects/web/builds/1/log", 200},
		{"events", "GET", "/projects/web/builds/1/events", 200},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequestWithContext(b.Context(), c.method, "/api/v1"+c.path, strings.NewReader(""))
				r.Header = http.Header{"Authorization": {"Bearer " + w.token}}
				rec := httptest.NewRecorder()
				w.api.ServeHTTP(rec, r)
				if rec.Code != c.want {
					b.Fatalf("got %d %s", rec.Code, rec.Body)
				}
			}
		})
	}
}

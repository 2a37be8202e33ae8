package main

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/sluice-ci/sluice/client"
)

// TestSequelsOutliveTheServer kills the server the moment a build is done: what
// comes of it comes, once.
func TestSequelsOutliveTheServer(t *testing.T) {
	t.Parallel()
	data := filepath.Join(t.TempDir(), "data")
	s := serverIn(t, data)
	s.project("lib", `["true"]`)
	s.project("app", `["exit 1"]`)
	p, err := s.client().Project(t.Context(), "app")
	if err != nil {
		t.Fatal(err)
	}
	p.After, p.Limits.AutoRetry = []string{"lib"}, 1
	if _, err := s.client().UpdateProject(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	const builds = 3
	errKilled := errors.New("killed")
	for n := range int64(builds) {
		if _, _, err := s.client().StartBuild(t.Context(), "lib", client.StartBuild{}); err != nil {
			t.Fatal(err)
		}
		_ = s.client().Events(t.Context(), "lib", n+1, 0, func(e client.Event) error {
			if e.Type == "build_finished" {
				s.kill()
				return errKilled
			}
			return nil
		})
		s = serverIn(t, data)
	}
	// Each build of lib brings about one of app, and that one another attempt.
	ended := map[int64]client.Build{}
	for n := int64(1); n <= 2*builds; n++ {
		for len(ended) < int(n) {
			page, err := s.client().Builds(t.Context(), client.BuildFilter{Project: "app"})
			if err != nil {
				t.Fatalf("%v; server:\n%s", err, s.said())
			}
			for _, b := range page.Items {
				if _, known := ended[b.Number]; !known {
					ended[b.Number] = s.ended("app", b.Number)
				}
			}
		}
	}
	from, retries := map[int64]int{}, map[string]int{}
	for _, b := range ended {
		if b.After == nil || b.Status != client.Failed {
			t.Fatalf("got %s after %+v", b.Status, b.After)
		}
		if b.Attempt == 0 {
			from[b.After.Number]++
		} else {
			retries[b.RetryOf]++
		}
	}
	if len(ended) != 2*builds || len(from) != builds || len(retries) != builds {
		t.Errorf("got %d builds after %v, retries %v", len(ended), from, retries)
	}
}

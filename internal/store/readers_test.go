package store_test

import (
	"testing"

	"github.com/sluice-ci/sluice/internal/store/storetest"
)

func TestReaders(t *testing.T) {
	each(t, func(t *testing.T, url string) {
		db := openURL(t, url)
		ctx := t.Context()
		if err := db.Append(ctx, storetest.Queued("before")); err != nil {
			t.Fatal(err)
		}
		first, err := db.Position(ctx, "traces")
		if err != nil || first == 0 {
			t.Fatalf("got %d, %v; want to begin behind what was before", first, err)
		}
		if err := db.Append(ctx, storetest.Queued("after")); err != nil {
			t.Fatal(err)
		}
		if again, err := db.Position(ctx, "traces"); err != nil || again != first {
			t.Errorf("got %d, %v; want to stay at %d", again, err, first)
		}
		for _, at := range []int64{first + 5, first + 1} {
			if err := db.MoveTo(ctx, "traces", at); err != nil {
				t.Fatal(err)
			}
		}
		if at, err := db.Position(ctx, "traces"); err != nil || at != first+5 {
			t.Errorf("got %d, %v; want %d, never back", at, err, first+5)
		}
		if at, err := db.Position(ctx, "other"); err != nil || at != first+1 {
			t.Errorf("another reader: got %d, %v; want %d", at, err, first+1)
		}
	})
}

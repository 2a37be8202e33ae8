package blob

import (
	"slices"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Address{
		"s3://builds":                                {Bucket: "builds"},
		"s3://builds/":                               {Bucket: "builds"},
		"s3://builds/a/b/":                           {Bucket: "builds", Prefix: "a/b/"},
		"s3://builds/ci?region=eu-central-1":         {Bucket: "builds", Prefix: "ci/", Region: "eu-central-1"},
		"s3://b.1?endpoint=http://127.0.0.1:9000":    {Bucket: "b.1", Endpoint: "127.0.0.1:9000", Insecure: true},
		"s3://b.1/x?endpoint=minio.example&region=r": {Bucket: "b.1", Prefix: "x/", Endpoint: "minio.example", Region: "r"},
	} {
		got, err := ParseAddress(text)
		if err != nil || got != want {
			t.Errorf("%s: got %+v, %v; want %+v", text, got, err, want)
		}
		if again, err := ParseAddress(got.String()); err != nil || again != got {
			t.Errorf("%s: its text %s reads as %+v, %v", text, got, again, err)
		}
	}
	for text, want := range map[string]string{
		"s3://":                              "is no name of a bucket",
		"s3://UPPER":                         "is no name of a bucket",
		"s3://ab/../x":                       "is no prefix",
		"s3://abc/x?endpoint=ftp://h":        "endpoint: want",
		"s3://abc/x?endpoint=http://u:p@h":   "endpoint: want",
		"s3://abc/x?key=secret&secret=hush":  "there is no option",
		"s3://KEY:hush@abc/x":                "credentials do not belong into the address",
		"s3://abc/x?region=r#frag":           "# has no meaning",
		"s3://KEY:hush%zz@abc":               "want s3://BUCKET",
		"http://abc":                         "want s3://BUCKET",
		"s3://KEY:hush@UPPER/../?endpoint=:": "credentials do not belong",
	} {
		_, err := ParseAddress(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: got %v, want %q and no secret", text, err, want)
		}
	}
}

func FuzzParseAddress(f *testing.F) {
	f.Add("s3://bucket/a?endpoint=http://h:1&region=r")
	f.Add("s3://u:p@bucket/../a")
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAddress(text)
		if err != nil {
			return
		}
		if again, err := ParseAddress(a.String()); err != nil || again != a {
			t.Errorf("%q reads as %+v, whose text %q reads as %+v, %v", text, a, a.String(), again, err)
		}
	})
}

// FuzzObjectNames: two keys and their objects have the same order, and objects
// give their keys back.
func FuzzObjectNames(f *testing.F) {
	f.Add("a", "a b")
	f.Add("a!", "a/b")
	f.Add("a\"0", "a ")
	f.Fuzz(func(t *testing.T, a, b string) {
		if CheckKey(a) != nil || CheckKey(b) != nil {
			return
		}
		keys, names := []string{a, b}, []string{object(a), object(b)}
		slices.Sort(keys)
		slices.Sort(names)
		for i := range keys {
			if got, ok := objectKey(names[i]); !ok || got != keys[i] {
				t.Errorf("object %d of %q is %q of key %q, %v", i, keys, names[i], got, ok)
			}
		}
	})
}

func TestDataSize(t *testing.T) {
	t.Parallel()
	for _, n := range []int64{0, 1, blockSize - 1, blockSize, blockSize + 1, 10 * blockSize, 1<<30 + 7, 1 << 40, 1<<40 + blockSize - 1} {
		if got := dataSize(header{size: n}.fileSize()); got != n {
			t.Errorf("an object of %d bytes is said to have %d", n, got)
		}
	}
}

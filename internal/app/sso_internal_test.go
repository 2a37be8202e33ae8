package app

import (
	"net"
	"net/url"
	"testing"
)

// FuzzLoopback: a code never leaves the person's own machine.
func FuzzLoopback(f *testing.F) {
	for _, s := range []string{"http://127.0.0.1:80/x", "http://[::1]:9/", "http://127.0.0.1.evil:9/", "http://127.0.0.1:9@evil/", `http://127.0.0.1:9\@evil/`, "http://[::ffff:127.0.0.1]:1/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !loopback(text) {
			return
		}
		u, err := url.Parse(text + "?code=x&state=y")
		if err != nil || u.Scheme != "http" || u.User != nil || u.Query().Get("code") != "x" {
			t.Fatalf("%q was taken: %+v, %v", text, u, err)
		}
		if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
			t.Fatalf("%q was taken, and is at %q", text, u.Hostname())
		}
	})
}

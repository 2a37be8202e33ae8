package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/client"
)

// browserLogin logs in at the identity provider of a server. With paste the
// person copies a code from the browser, which may then be on another machine;
// else the browser brings it to an address of this one.
func browserLogin(ctx context.Context, c *client.Client, server, path string, paste bool) (client.IssuedToken, error) {
	secret, state := rand.Text()+rand.Text(), rand.Text()
	sum := sha256.Sum256([]byte(secret))
	q := url.Values{"challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "note": {"sluice login on " + hostName()}}
	var code string
	var err error
	if paste {
		fmt.Fprintf(os.Stderr, "Open this address in a browser:\n\n  %s\n\n", strings.TrimRight(server, "/")+path+"?"+q.Encode())
		code, err = askLine("Code: ")
	} else {
		code, err = awaitBrowser(ctx, server, path, state, q)
	}
	if err != nil {
		return client.IssuedToken{}, err
	}
	return c.TakeLogin(ctx, client.NewHandover{Code: code, Secret: secret})
}

// browserTime is how long a login may take in the browser.
const browserTime = 10 * time.Minute

// awaitBrowser listens for the browser that comes back with the code.
func awaitBrowser(ctx context.Context, server, path, state string, q url.Values) (code string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, browserTime, errors.New("nobody logged in within ten minutes"))
	defer cancel()
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for the browser: %w; use --code", err)
	}
	codes := make(chan string, 1)
	web := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Cache-Control", "no-store")
		if r.URL.Path != "/callback" || r.URL.Query().Get("state") != state || r.URL.Query().Get("code") == "" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		_, _ = io.WriteString(w, "Logged in. You may close this page and go back to the terminal.\n")
		select {
		case codes <- r.URL.Query().Get("code"):
		default: // it came twice
		}
	})}
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(l) }()
	defer func() {
		last, stop := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer stop()
		_ = web.Shutdown(last)
		<-ended
	}()
	q.Set("redirect", "http://"+l.Addr().String()+"/callback")
	q.Set("state", state)
	address := strings.TrimRight(server, "/") + path + "?" + q.Encode()
	fmt.Fprintf(os.Stderr, "Log in with your browser; if it does not open, go to\n\n  %s\n\nor use 'sluice login --code' where there is no browser.\n", address)
	openBrowser(ctx, address)
	select {
	case code = <-codes:
		return code, nil
	case err := <-ended:
		ended <- nil
		return "", fmt.Errorf("listen for the browser: %w", err)
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// openBrowser tries to; the address stands on the terminal.
func openBrowser(ctx context.Context, address string) {
	for _, name := range []string{os.Getenv("BROWSER"), "xdg-open", "open"} {
		if name == "" {
			continue
		}
		cmd := exec.CommandContext(context.WithoutCancel(ctx), name, address)
		if cmd.Start() == nil {
			go func() { _ = cmd.Wait() }() // it ends with the program at the latest, which owns nothing of it
			return
		}
	}
}

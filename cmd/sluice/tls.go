package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

// tlsConfig is how the server speaks HTTPS; nil = it speaks HTTP. Plain wraps what
// answers plain HTTP beside it.
func (s *server) tlsConfig() (config *tls.Config, plain func(http.Handler) http.Handler, err error) {
	plain = func(h http.Handler) http.Handler { return h }
	switch {
	case s.cfg.tlsCert != "":
		files := &certificateFiles{cert: s.cfg.tlsCert, key: s.cfg.tlsKey, log: s.log, now: time.Now}
		if _, err := files.get(nil); err != nil {
			return nil, nil, err
		}
		return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: files.get}, plain, nil
	case len(s.cfg.acme) > 0:
		m := &autocert.Manager{
			Prompt: autocert.AcceptTOS, Email: s.cfg.acmeEmail, HostPolicy: autocert.HostWhitelist(s.cfg.acme...),
			Cache: autocert.DirCache(s.path("acme")), Client: &acme.Client{DirectoryURL: s.cfg.acmeDirectory, UserAgent: "sluice/" + version},
		}
		config := m.TLSConfig()
		config.MinVersion = tls.VersionTLS12
		config.GetCertificate = s.named(m.GetCertificate)
		return config, m.HTTPHandler, nil
	}
	return nil, plain, nil
}

// named says in the log why there is no certificate: who connects does not see it.
func (s *server) named(get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		c, err := get(hello)
		if err != nil && hello.ServerName != "" && s.cfg.hasName(hello.ServerName) {
			s.log.Error("no certificate could be had", "name", hello.ServerName, "err", err)
		}
		return c, err
	}
}

// hasName says whether the server gets certificates for a name.
func (c *serverConfig) hasName(name string) bool {
	for _, n := range c.acme {
		if strings.EqualFold(n, strings.TrimSuffix(name, ".")) {
			return true
		}
	}
	return false
}

// certificateFiles is a certificate in files that somebody else renews.
type certificateFiles struct {
	cert, key string
	log       *slog.Logger
	now       func() time.Time

	mu     sync.Mutex
	looked time.Time
	seen   [2]os.FileInfo
	loaded *tls.Certificate
}

// lookAgain is how old an answer about the files may be.
const lookAgain = time.Second

// get gives the certificate as the files have it. New ones that do not fit together,
// as between the writing of the two, are not taken; the old one serves on.
func (f *certificateFiles) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.loaded != nil && f.now().Sub(f.looked) < lookAgain {
		return f.loaded, nil
	}
	f.looked = f.now()
	if err := f.load(); err != nil {
		if f.loaded == nil {
			return nil, fmt.Errorf("certificate: %w; see tls-cert and tls-key", err)
		}
		f.log.Error("the new certificate cannot be used; the old one serves on", "cert", f.cert, "key", f.key, "err", err)
	}
	return f.loaded, nil
}

// load reads the files if they are others than those that were read last.
func (f *certificateFiles) load() error {
	var now [2]os.FileInfo
	changed := f.loaded == nil
	for i, name := range []string{f.cert, f.key} {
		info, err := os.Stat(name)
		if err != nil {
			return err
		}
		now[i] = info
		was := f.seen[i]
		changed = changed || was == nil || !os.SameFile(was, info) || !was.ModTime().Equal(info.ModTime()) || was.Size() != info.Size()
	}
	if !changed {
		return nil
	}
	f.seen = now // also when they cannot be used, which is said once
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		return err
	}
	if f.loaded != nil {
		f.log.Info("the certificate was replaced", "cert", f.cert, "until", pair.Leaf.NotAfter)
	}
	f.loaded = &pair
	return nil
}

// redirect answers plain HTTP on an address of its own until ctx ends: with the way
// to HTTPS, and with what an ACME server asks for.
func (s *server) redirect(ctx context.Context, l net.Listener, plain func(http.Handler) http.Handler) error {
	to := s.cfg.url
	handler := plain(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			// What came with it, such as a token, has crossed the wire already: it must not work.
			http.Error(w, "this server speaks HTTPS: use "+to, http.StatusForbidden)
			return
		}
		// Never to a place that the request names.
		target := url.URL{Path: r.URL.Path, RawQuery: r.URL.RawQuery}
		http.Redirect(w, r, to+target.RequestURI(), http.StatusPermanentRedirect)
	}))
	web := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second,
		IdleTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	done := make(chan error, 1)
	go func() { done <- web.Serve(l) }()
	select {
	case err := <-done:
		return fmt.Errorf("answer plain HTTP on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer stop()
	err := web.Shutdown(last)
	<-done
	if errors.Is(err, context.DeadlineExceeded) {
		return web.Close()
	}
	return err
}

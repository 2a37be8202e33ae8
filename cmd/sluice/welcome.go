package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/sluice-ci/sluice/internal/api"
	"github.com/sluice-ci/sluice/internal/auth"
)

// linkLife is how long the link of the first start is good.
const linkLife = time.Hour

// bootstrap makes the first user, and says whether there was none.
func (s *server) bootstrap(ctx context.Context) (first bool, err error) {
	return s.auth.Bootstrap(ctx, func(secret string) error { return writePrivate(s.path("admin-token"), secret+"\n") })
}

// welcome says how to begin. The link goes to a terminal, where it is gone with
// the screen, or into a file as private as the token's; never into a log.
func (s *server) welcome(ctx context.Context) error {
	token := s.path("admin-token")
	begin := fmt.Sprintf("export SLUICE_URL=%s SLUICE_TOKEN=$(cat %s)", s.cfg.url, token)
	if strings.HasPrefix(s.cfg.url, "unix:") { // no browser opens it
		s.log.Info("first start: the user admin was made", "token", token, "begin", begin)
		return nil
	}
	code, err := s.auth.PasswordLink(ctx, auth.Admin, linkLife)
	if err != nil {
		return err
	}
	link := s.cfg.url + api.PasswordPath + code
	if tty := terminalOf(os.Stderr, os.Stdout); tty != nil {
		s.log.Info("first start: the user admin was made", "token", token, "begin", begin)
		_, err := fmt.Fprintf(tty, "\n  Set the password of admin, once and within an hour:\n  %s\n\n", link)
		return err
	}
	if err := writePrivate(s.path("admin-link"), link+"\n"); err != nil {
		return err
	}
	s.log.Info("first start: the user admin was made", "token", token, "begin", begin, "link", s.path("admin-link"))
	return nil
}

func terminalOf(files ...*os.File) *os.File {
	for _, f := range files {
		if term.IsTerminal(int(f.Fd())) {
			return f
		}
	}
	return nil
}

// forgetLink removes the file with the link when that is of no more use.
func (s *server) forgetLink() error {
	info, err := os.Stat(s.path("admin-link"))
	if errors.Is(err, fs.ErrNotExist) || err == nil && time.Since(info.ModTime()) < linkLife {
		return nil
	}
	return errors.Join(err, os.Remove(s.path("admin-link")))
}

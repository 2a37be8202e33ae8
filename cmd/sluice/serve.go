package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func newServe() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the server: projects and builds behind one API",
		Long: `Serve keeps projects and runs their builds. Everything that it keeps is in one
folder (--data). The first start makes the user "admin" and writes a token for it
to DATA/admin-token, which only the user who runs the server can read. It also
prints a link, good once and for an hour, at which to set the admin's password;
where it does not write to a terminal, the link is in DATA/admin-link.

Builds that run go on while the server is stopped, killed or replaced, and the
next start takes them up.`,
		Example: `  sluice serve
  sluice serve --data /srv/sluice --listen 0.0.0.0:7700 --tls-cert ci.pem --tls-key ci.key
  export SLUICE_URL=http://127.0.0.1:7700 SLUICE_TOKEN=$(cat /srv/sluice/admin-token)
  sluice project create app --source https://git.example.com/app.git
  sluice build start app --follow`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := readConfig(cmd.Flags(), os.LookupEnv)
			if err != nil {
				return err
			}
			cfg, err := serverConfigOf(all)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg)
		},
	}
	configFlags(cmd.Flags(), os.LookupEnv)
	return cmd
}

func newConfig() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "config",
		Short: "Show the configuration that sluice serve would have, and where it is from",
		Long: `Config prints every setting of sluice serve in the form of its configuration
file. A flag counts before the environment, that before the file, that before the
default. Passwords are masked.`,
		Example: `  sluice config
  sluice config --config /etc/sluice.yml > effective.yml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := readConfig(cmd.Flags(), os.LookupEnv)
			if err != nil {
				return err
			}
			if _, err := serverConfigOf(all); err != nil {
				return err
			}
			return showConfig(os.Stdout, all)
		},
	}
	configFlags(cmd.Flags(), os.LookupEnv)
	return cmd
}

// serve runs the server until SIGTERM or SIGINT.
func serve(ctx context.Context, cfg serverConfig) (err error) {
	ctx, undo := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer undo()
	env, err := surroundings()
	if err != nil {
		return err
	}
	log := newLog(cfg.jsonLog)
	s, err := openServer(ctx, cfg, env, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	first, err := s.bootstrap(ctx)
	if err != nil {
		return err
	}
	if err := s.recover(ctx); err != nil {
		return err
	}
	l, err := listen(ctx, cfg.listen)
	if err != nil {
		return err
	}
	if cfg.url == address(cfg.listen, cfg.https()) && l.Addr().Network() == "tcp" { // with port 0 only the listener knows it
		s.cfg.url = address(l.Addr().String(), cfg.https())
	}
	config, plain, err := s.tlsConfig()
	if err != nil {
		return err
	}
	parts := []func(context.Context) error{
		func(ctx context.Context) error { return s.answer(ctx, l, config) },
		func(work context.Context) error { return s.untilAsked(work, ctx) },
	}
	if cfg.redirect != "" {
		from, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.redirect)
		if err != nil {
			return fmt.Errorf("listen on %s: %w; choose another address with --redirect", cfg.redirect, err)
		}
		log.Info("answering plain HTTP with the way to HTTPS", "address", from.Addr().String())
		parts = append(parts, func(ctx context.Context) error { return s.redirect(ctx, from, plain) })
	}
	if err := s.engine.Join(ctx); err != nil { // the other servers know the address from now on
		return err
	}
	if first {
		if err := s.welcome(ctx); err != nil {
			return err
		}
	}
	if err := s.openMetrics(ctx); err != nil {
		return err
	}
	log.Info("ready", "url", s.cfg.url, "data", cfg.data)
	if err := tellManager("READY=1\nSTATUS=" + s.cfg.url); err != nil {
		log.Warn("who started this could not be told that it is ready", "err", err)
	}
	err = s.run(context.WithoutCancel(ctx), parts...)
	if err == nil {
		log.Info("stopped; what runs goes on and is taken up at the next start")
	}
	return err
}

func newLog(asJSON bool) *slog.Logger {
	if asJSON {
		return slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	return slog.New(slog.NewTextHandler(os.Stderr, nil))
}

// writePrivate puts a file in place whole, readable for its owner alone.
func writePrivate(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-") // 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// tellManager tells the service manager how it stands, if there is one (sd_notify(3)).
func tellManager(state string) error {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	_, err = c.Write([]byte(state))
	return errors.Join(err, c.Close())
}

// firstActivated is the descriptor at which systemd hands over sockets (sd_listen_fds(3)).
const firstActivated = 3

// listen opens the address, or takes the socket that systemd opened.
func listen(ctx context.Context, address string) (net.Listener, error) {
	if pid, _ := strconv.Atoi(os.Getenv("LISTEN_PID")); pid == os.Getpid() && os.Getenv("LISTEN_FDS") != "" {
		f := os.NewFile(firstActivated, "socket of systemd")
		defer func() { _ = f.Close() }()
		l, err := net.FileListener(f)
		if err != nil {
			return nil, fmt.Errorf("take over the socket of systemd: %w", err)
		}
		return l, nil
	}
	network := "tcp"
	if path, isSocket := strings.CutPrefix(address, "unix:"); isSocket {
		network, address = "unix", path
		if err := removeStale(ctx, path); err != nil {
			return nil, err
		}
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, network, address)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("listen on %s: another program does so already; choose another address with --listen: %w", address, err)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another address with --listen", address, err)
	}
	return l, nil
}

// removeStale removes a socket that nobody answers at any more.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if err != nil || info.Mode().Type() != os.ModeSocket {
		return nil //nolint:nilerr // listening will say what is wrong
	}
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = c.Close()
		return fmt.Errorf("listen on %s: another server answers there", path)
	}
	return os.Remove(path)
}

// farewell is how long requests have to end when the server stops. Streams are
// told to.
const farewell = 5 * time.Second

// answer serves HTTP until ctx ends, then lets requests end.
func (s *server) answer(ctx context.Context, l net.Listener, config *tls.Config) error {
	web := s.api.Server()
	web.TLSConfig = config
	web.Handler = s.gauges.handler(s, web.Handler)
	done := make(chan error, 1)
	go func() {
		if config != nil {
			done <- web.ServeTLS(l, "", "")
		} else {
			done <- web.Serve(l)
		}
	}()
	select {
	case err := <-done:
		return fmt.Errorf("answer on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	last, stop := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer stop()
	if err := web.Shutdown(last); err != nil {
		_ = web.Close()
	}
	<-done
	return nil
}

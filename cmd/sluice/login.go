package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sluice-ci/sluice/client"
)

// maxSession is the longest that a session may be set to last.
const maxSession = 366 * 24 * time.Hour

// loginFlags are those of login.
type loginFlags struct {
	user, passwordFile, context string
	code                        bool
}

func newLogin() *cobra.Command {
	var f loginFlags
	cmd := &cobra.Command{
		Use: "login [URL]", Short: "Log in to a server", Args: cobra.MaximumNArgs(1),
		Long: `Login keeps a session in a file that only you can read, and has commands use that
server; with several of them 'sluice context use' says which. The URL is that of
the context in use when left out. Where the server has an identity provider the
login is in the browser, unless --user says that it is with a password.`,
		Example: `  sluice login https://ci.example.com
  sluice login https://ci.example.com --code
  sluice login http://127.0.0.1:7700 --user admin
  sluice login https://ci.example.com --user robot --password-file robot.password`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.login(cmd, args) },
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.user, "user", "", "`NAME` of the user who logs in with a password (default: it is asked for)")
	fs.StringVar(&f.passwordFile, "password-file", "", "`FILE` with the password, - = standard input (default: it is asked for)")
	fs.BoolVar(&f.code, "code", false, "copy a code from the browser, which may be on another machine")
	fs.StringVar(&f.context, "context", "", "`NAME` to keep it under (default: the server's host)")
	return cmd
}

func (f *loginFlags) login(cmd *cobra.Command, args []string) error {
	kept, err := readContexts()
	if err != nil {
		return err
	}
	server := os.Getenv("SLUICE_URL")
	if len(args) > 0 {
		server = args[0]
	} else if server == "" {
		if _, l, err := kept.find(""); err == nil {
			server = l.Server
		}
	}
	if server == "" {
		return usagef("which server? name it, such as 'sluice login https://ci.example.com'")
	}
	name := f.context
	if name == "" {
		name = contextName(server)
	}
	c, err := dial(server, "")
	if err != nil {
		return err
	}
	warnClear(server)
	how, err := c.LoginMethods(cmd.Context())
	if err != nil {
		return refused(err)
	}
	if f.code && how.SSO == "" {
		return usagef("--code: %s has no identity provider; log in with a password", server)
	}
	if how.SSO != "" && f.user == "" && f.passwordFile == "" {
		session, err := browserLogin(cmd.Context(), c, server, how.SSO, f.code)
		if err != nil {
			return refused(err)
		}
		return kept.enter(cmd, name, server, session)
	}
	if f.user == "" {
		if !term.IsTerminal(int(os.Stdin.Fd())) {
			return usagef("there is no terminal to ask on: use --user and --password-file")
		}
		if f.user, err = askLine("User: "); err != nil {
			return err
		}
	}
	password, err := readPassword(f.passwordFile, "Password of "+f.user+" at "+server+": ")
	if err != nil {
		return err
	}
	session, err := c.Login(cmd.Context(), client.NewLogin{User: f.user, Password: password, Note: "sluice login on " + hostName()})
	if err != nil {
		return refused(err)
	}
	return kept.enter(cmd, name, server, session)
}

// enter keeps a session and has commands use it.
func (c *contexts) enter(cmd *cobra.Command, name, server string, session client.IssuedToken) error {
	c.Current = name
	c.Contexts[name] = loggedIn{Server: strings.TrimRight(server, "/"), User: session.User, Token: session.Secret, Expires: session.Expires}
	if err := c.write(); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(cmd.OutOrStdout(), "logged in to %s as %s until %s\n", server, printable(session.User), ends(session.Expires)); err != nil {
		return err
	}
	for _, v := range []string{"SLUICE_URL", "SLUICE_TOKEN"} {
		if os.Getenv(v) != "" {
			fmt.Fprintf(os.Stderr, "sluice: %s is set, and counts before this session: unset it to use the session\n", v)
		}
	}
	return nil
}

// contextName is what a context is called by itself.
func contextName(server string) string {
	if u, err := url.Parse(server); err == nil && u.Host != "" {
		return u.Host
	}
	return strings.TrimPrefix(server, "unix:")
}

// warnClear says when a password would cross a network as it is.
func warnClear(server string) {
	u, err := url.Parse(server)
	if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return
	}
	if ip := net.ParseIP(u.Hostname()); ip == nil || !ip.IsLoopback() {
		fmt.Fprintf(os.Stderr, "sluice: %s is not HTTPS: everybody on the way can read the password\n", server)
	}
}

func hostName() string {
	name, err := os.Hostname()
	if err != nil {
		return "a machine without a name"
	}
	return name
}

// askLine asks for a line, with echo.
func askLine(prompt string) (string, error) {
	fmt.Fprint(os.Stderr, prompt)
	line, err := bufio.NewReader(io.LimitReader(os.Stdin, 4096)).ReadString('\n')
	if line = strings.TrimSpace(line); line == "" && err == nil {
		err = errors.New("nothing was typed")
	}
	return line, err
}

// readPassword takes a password from a file or asks for it.
func readPassword(file, prompt string) (string, error) {
	if file != "" {
		text, err := readSecretFile(file)
		if err != nil {
			return "", usagef("--password-file: %w", err)
		}
		return text, nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", usagef("there is no terminal to ask for a password on: name a file with --password-file, - for standard input")
	}
	return askOn(os.Stdin)(prompt)
}

func newLogout() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use: "logout", Short: "End the session on a server", Args: cobra.NoArgs,
		Long: `Logout ends the session on the server and forgets it here, also when the server
cannot be reached: then the session ends at its time.`,
		Example: "  sluice logout\n  sluice logout --context ci.example.com",
		RunE: func(cmd *cobra.Command, _ []string) error {
			kept, err := readContexts()
			if err != nil {
				return err
			}
			name, l, err := kept.find(name)
			if err != nil {
				return err
			}
			if l.Token == "" {
				return usagef("you are not logged in to %s", l.Server)
			}
			told := logout(cmd.Context(), l)
			l.Token, l.Expires = "", time.Time{}
			kept.Contexts[name] = l
			if err := kept.write(); err != nil {
				return err
			}
			if told != nil {
				return fmt.Errorf("the session is forgotten here, but %s could not be told and keeps it until it expires: %w", l.Server, refused(told))
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "logged out of %s\n", l.Server)
			return err
		},
	}
	cmd.Flags().StringVar(&name, "context", "", "`NAME` of the context (default: the one in use)")
	_ = cmd.RegisterFlagCompletionFunc("context", completeContexts)
	return cmd
}

// logout ends a session on its server. One that has ended there already is fine.
func logout(ctx context.Context, l loggedIn) error {
	c, err := dial(l.Server, l.Token)
	if err != nil {
		return err
	}
	err = c.Logout(ctx)
	var e *client.Error
	if errors.As(err, &e) && e.Status == http.StatusUnauthorized {
		return nil
	}
	return err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sluice-ci/sluice/client"
	"github.com/sluice-ci/sluice/cmd/sluice/internal/show"
	"github.com/sluice-ci/sluice/internal/ci"
)

// remote is how the commands that talk to a server find it.
type remote struct {
	server, tokenFile string
}

func (r *remote) register(fs *pflag.FlagSet) {
	fs.StringVar(&r.server, "server", "", "`URL` of the server, or unix:PATH [SLUICE_URL] (default: that of the context, or http://127.0.0.1:7700)")
	fs.StringVar(&r.tokenFile, "token-file", "", "`FILE` with the token to use (default: what SLUICE_TOKEN holds, or the session of 'sluice login')")
}

// connect makes the client. The token is never an argument, which other users of
// the machine could read.
func (r *remote) connect() (*client.Client, error) {
	server, token, err := r.settle()
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, usagef("no token: log in with 'sluice login', set SLUICE_TOKEN, or name a file with --token-file; the first start of a server writes one to DATA/admin-token")
	}
	return dial(server, token)
}

// settle finds the address of the server and the token: what flags say counts
// before the environment, that before the context in use.
func (r *remote) settle() (server, token string, err error) {
	if server = r.server; server == "" {
		server = os.Getenv("SLUICE_URL")
	}
	token = os.Getenv("SLUICE_TOKEN")
	if r.tokenFile != "" {
		text, err := os.ReadFile(r.tokenFile)
		if err != nil {
			return "", "", usagef("--token-file: %w", err)
		}
		token = strings.TrimSpace(string(text))
	}
	if server == "" || token == "" {
		c, err := readContexts()
		if err != nil {
			return "", "", err
		}
		known, session, err := c.settle(server)
		if err != nil {
			return "", "", err
		}
		if server = known; token == "" {
			token = session
		}
	}
	if server == "" {
		server = "http://127.0.0.1:7700"
	}
	return server, token, nil
}

// dial makes a client of the server at an address.
func dial(server, token string) (*client.Client, error) {
	var options []client.Option
	if path, isSocket := strings.CutPrefix(server, "unix:"); isSocket {
		transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}}
		server, options = "http://localhost", append(options, client.WithHTTP(&http.Client{Transport: transport}))
	}
	c, err := client.New(server, token, options...)
	if err != nil {
		return nil, usagef("%w; set SLUICE_URL or --server", err)
	}
	return c, nil
}

// refused gives an error of the server the exit code it deserves: what is wrong
// with the request is the command line's, the rest is a fault.
func refused(err error) error {
	var e *client.Error
	if errors.As(err, &e) {
		if e.Status == http.StatusBadRequest || e.Status == http.StatusUnprocessableEntity || e.Status == http.StatusNotFound {
			return &exitError{code: exitUsage, err: err}
		}
		return err
	}
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" {
		return fmt.Errorf("%w; is the server running? its address comes from --server or SLUICE_URL", err)
	}
	return err
}

// talk is the body of a command that talks to a server.
func (r *remote) talk(do func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		c, err := r.connect()
		if err != nil {
			return err
		}
		return refused(do(cmd.Context(), c, cmd, args))
	}
}

// buildName reads PROJECT/NUMBER.
func buildName(text string) (project string, number int64, err error) {
	project, n, ok := strings.Cut(text, "/")
	if number, err = strconv.ParseInt(strings.TrimPrefix(n, "#"), 10, 64); !ok || project == "" || err != nil || number < 1 {
		return "", 0, usagef("%q is no build: want PROJECT/NUMBER, such as app/12", text)
	}
	return project, number, nil
}

// table prints rows in columns.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range shownColumns(w, rows) {
		for i, cell := range row {
			row[i] = printable(cell)
		}
		if _, err := fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}

// printable drops what would control a terminal: names and messages come from others.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || (r >= 0x80 && r < 0xa0) {
			return ' '
		}
		return r
	}, s)
}

// pages reads a list until it ends, or has as many items as are wanted.
func pages[T any](wanted int, read func(client.Paging) (client.Page[T], error)) ([]T, error) {
	items := []T{}
	var p client.Paging
	for {
		p.Limit = min(wanted-len(items), 200)
		page, err := read(p)
		if err != nil {
			return nil, err
		}
		items = append(items, page.Items...)
		if page.Next == "" || len(items) >= wanted {
			return items, nil
		}
		p.After = page.Next
	}
}

// age is how long ago something was.
func age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := time.Since(t)
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd ago", int(d.Hours()/24))
	case d >= 2*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	}
	return fmt.Sprintf("%ds ago", max(int(d.Seconds()), 0))
}

// took is how long a build ran, or has run so far.
func took(b client.Build) string {
	switch {
	case b.Started.IsZero():
		return ""
	case b.Ended.IsZero():
		return show.Duration(time.Since(b.Started))
	}
	return show.Duration(b.Ended.Sub(b.Started))
}

// codeOfStatus is the exit code for how a build of a server ended.
func codeOfStatus(b client.Build) int {
	rec := ci.Build{Status: ci.Status(b.Status)}
	for _, p := range b.Problems {
		rec.Problems = append(rec.Problems, ci.Problem{Severity: ci.Severity(p.Severity)})
	}
	return codeOfBuild(&rec)
}

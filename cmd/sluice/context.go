package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// loggedIn is a server that somebody has logged in to.
type loggedIn struct {
	Server  string    `json:"server"`
	User    string    `json:"user,omitempty"`
	Token   string    `json:"token,omitempty"` // "" = logged out
	Expires time.Time `json:"expires,omitzero"`
}

// contexts is the file of servers, which only its owner can read.
type contexts struct {
	path string

	Current  string              `json:"current,omitempty"`
	Contexts map[string]loggedIn `json:"contexts"`
}

// contextFile is where contexts are kept; "" = there is no home for it.
func contextFile() string {
	if path := os.Getenv("SLUICE_CONTEXTS"); path != "" {
		return path
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "sluice", "contexts.json")
}

func readContexts() (*contexts, error) {
	c := &contexts{path: contextFile(), Contexts: map[string]loggedIn{}}
	if c.path == "" {
		return c, nil
	}
	f, err := os.Open(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the contexts: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("read the contexts: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s can be read by others, and has tokens in it: chmod 600 it, and log in anew if others may have read it", c.path)
	}
	if err := json.NewDecoder(f).Decode(c); err != nil {
		return nil, fmt.Errorf("%s: %w; remove it and log in anew", c.path, err)
	}
	if c.Contexts == nil {
		c.Contexts = map[string]loggedIn{}
	}
	return c, nil
}

func (c *contexts) write() error {
	if c.path == "" {
		return errors.New("there is no home folder to keep the session in; set HOME, XDG_CONFIG_HOME or SLUICE_CONTEXTS")
	}
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(c.path), 0o700); err != nil {
		return fmt.Errorf("keep the session: %w", err)
	}
	if err := writePrivate(c.path, string(text)+"\n"); err != nil {
		return fmt.Errorf("keep the session: %w", err)
	}
	return nil
}

// chosen is the context in use: SLUICE_CONTEXT, or that of 'context use'.
func (c *contexts) chosen() string {
	if name := os.Getenv("SLUICE_CONTEXT"); name != "" {
		return name
	}
	return c.Current
}

// find gives the context of a name, "" being the one in use.
func (c *contexts) find(name string) (string, loggedIn, error) {
	if name == "" {
		name = c.chosen()
	}
	if name == "" {
		return "", loggedIn{}, usagef("no context is in use; log in with 'sluice login URL'")
	}
	l, ok := c.Contexts[name]
	if !ok {
		names := slices.Sorted(maps.Keys(c.Contexts))
		return "", loggedIn{}, usagef("there is no context %q%s; 'sluice context list' shows those that there are", name, didYouMean(name, names, ""))
	}
	return name, l, nil
}

// settle says which server and token commands use when nothing else says so. A
// token only ever goes to the server that gave it.
func (c *contexts) settle(server string) (address, token string, err error) {
	if server != "" {
		var best loggedIn
		for _, name := range append([]string{c.chosen()}, slices.Sorted(maps.Keys(c.Contexts))...) {
			if l, ok := c.Contexts[name]; ok && best.Token == "" && strings.TrimRight(l.Server, "/") == strings.TrimRight(server, "/") {
				best = l
			}
		}
		return server, best.Token, nil
	}
	if c.chosen() == "" {
		return "", "", nil
	}
	_, l, err := c.find("")
	return l.Server, l.Token, err
}

func newContext() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "context",
		Short: "The servers that you are logged in to, and which of them commands use",
		Long: `A context is a server with a session on it; 'sluice login' makes them. They are
kept in one file that only you can read, sluice/contexts.json below the folder for
configuration (~/.config); SLUICE_CONTEXTS names another. SLUICE_CONTEXT picks one
for a command; SLUICE_URL and SLUICE_TOKEN, and --server and --token-file, count
before any.`,
		Example: `  sluice login https://ci.example.com
  sluice context list
  sluice context use ci.example.com`,
	}
	cmd.AddCommand(newContextList(), newContextUse(), newContextShow(), newContextDelete())
	return cmd
}

// shownContext is one without what is secret in it.
type shownContext struct {
	Name    string    `json:"name"`
	Current bool      `json:"current"`
	Server  string    `json:"server"`
	User    string    `json:"user,omitempty"`
	State   string    `json:"state"`
	Expires time.Time `json:"expires,omitzero"`
}

func (c *contexts) show(name string) shownContext {
	l := c.Contexts[name]
	s := shownContext{Name: name, Current: name == c.chosen(), Server: l.Server, User: l.User, Expires: l.Expires, State: "logged in"}
	switch {
	case l.Token == "":
		s.State = "logged out"
	case !l.Expires.IsZero() && l.Expires.Before(time.Now()):
		s.State = "expired"
	}
	return s
}

func newContextList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the contexts; the one in use has a star", Args: cobra.NoArgs,
		Example: "  sluice context list\n  sluice context list --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := readContexts()
			if err != nil {
				return err
			}
			all := []shownContext{}
			rows := [][]string{{"", "NAME", "SERVER", "USER", "STATE", "ENDS"}}
			for _, name := range slices.Sorted(maps.Keys(c.Contexts)) {
				s := c.show(name)
				all = append(all, s)
				star := " "
				if s.Current {
					star = "*"
				}
				rows = append(rows, []string{star, s.Name, s.Server, orDash(s.User), s.State, ends(s.Expires)})
			}
			if asJSON {
				return writeJSON(cmd, all)
			}
			return table(cmd.OutOrStdout(), rows)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print them as JSON")
	return cmd
}

// completeContexts offers the names of contexts.
func completeContexts(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	c, err := readContexts()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.Sorted(maps.Keys(c.Contexts)), cobra.ShellCompDirectiveNoFileComp
}

func newContextUse() *cobra.Command {
	return &cobra.Command{
		Use: "use NAME", Short: "Have commands use a context", Args: cobra.ExactArgs(1), ValidArgsFunction: completeContexts,
		Example: "  sluice context use ci.example.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := readContexts()
			if err != nil {
				return err
			}
			name, l, err := c.find(args[0])
			if err != nil {
				return err
			}
			c.Current = name
			if err := c.write(); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "commands use %s, %s\n", name, l.Server)
			return err
		},
	}
}

func newContextShow() *cobra.Command {
	return &cobra.Command{
		Use: "show [NAME]", Short: "Show a context as JSON, without its token", Args: cobra.MaximumNArgs(1), ValidArgsFunction: completeContexts,
		Example: "  sluice context show\n  sluice context show ci.example.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := readContexts()
			if err != nil {
				return err
			}
			name, _, err := c.find(strings.Join(args, ""))
			if err != nil {
				return err
			}
			return writeJSON(cmd, c.show(name))
		},
	}
}

func newContextDelete() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Forget a context", Args: cobra.ExactArgs(1), ValidArgsFunction: completeContexts,
		Long:    `Delete forgets a server and the session on it. 'sluice logout' also ends the session there.`,
		Example: "  sluice logout --context old && sluice context delete old",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := readContexts()
			if err != nil {
				return err
			}
			name, _, err := c.find(args[0])
			if err != nil {
				return err
			}
			delete(c.Contexts, name)
			if c.Current == name {
				c.Current = ""
			}
			if err := c.write(); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "deleted context %s\n", name)
			return err
		},
	}
}

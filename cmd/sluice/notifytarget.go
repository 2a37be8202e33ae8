package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/sluice-ci/sluice/client"
)

// targetFlags are those of notify target.
type targetFlags struct {
	kind, url, urlFile, secretFile            string
	smtp, smtpTLS, smtpUser, from             string
	to, events, statuses, branches, onlyNamed []string
	changed, disable, enable                  bool
}

func newNotifyTarget() *cobra.Command {
	var o ofTarget
	var f targetFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use: "target NAME", Short: "Make a target, or change one", Args: cobra.ExactArgs(1),
		Long: `Target makes the target if there is none of that name; --kind then says which. Of one
that is there it changes what the flags name. Without --event it hears of the ends
of builds. Patterns are names in which * stands for any text.

Secrets come from files, or from standard input for '-', because every user of a
machine can read arguments. A new webhook without --secret-file is given a key, which
is printed this once.`,
		Example: `  sluice notify target ops --kind webhook --url https://example.com/hook
  sluice notify target team --project app --kind slack --url-file slack.url --status failed --branch main
  sluice notify target mail --kind mail --smtp smtp.example.com:587 --smtp-user ci --secret-file pw \
    --from ci@example.com --to team@example.com --changed
  sluice notify target ops --disable`,
		RunE: o.talk(func(ctx context.Context, c *client.Client, cmd *cobra.Command, args []string) error {
			t, err := c.Target(ctx, o.project, args[0])
			made := client.IsNotFound(err) && f.kind != ""
			if err != nil && !made {
				return err
			}
			put := client.PutTarget{Target: t}
			put.Name, put.Project = args[0], o.project
			if err := f.change(&put, cmd.Flags().Changed); err != nil {
				return err
			}
			out, err := c.PutTarget(ctx, put)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(cmd, out)
			}
			verb := "changed"
			if made {
				verb = "made"
			}
			text := fmt.Sprintf("%s target %s: %s, %s; try it with 'sluice notify test %s'\n", verb, out.Name, out.Kind, filterOf(out.Target), out.Name)
			if out.Secret != "" {
				text += "the key of its signatures, shown this once: " + out.Secret + "\n"
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		}),
	}
	fs := cmd.Flags()
	fs.SortFlags = false
	fs.StringVar(&f.kind, "kind", "", "`KIND`: webhook, mail, slack, teams, discord or mattermost")
	fs.StringVar(&f.url, "url", "", "`URL` of a webhook")
	fs.StringVar(&f.urlFile, "url-file", "", "`FILE` with the URL of a chat's incoming webhook")
	fs.StringVar(&f.secretFile, "secret-file", "", "`FILE` with the key of a webhook, or the password of a mail server")
	fs.StringVar(&f.smtp, "smtp", "", "mail server `HOST:PORT`")
	fs.StringVar(&f.smtpTLS, "smtp-tls", "", "`HOW` the mail server is spoken to: starttls, tls or none (default: starttls)")
	fs.StringVar(&f.smtpUser, "smtp-user", "", "`NAME` to log in to the mail server with")
	fs.StringVar(&f.from, "from", "", "`ADDRESS` that mail comes from")
	fs.StringArrayVar(&f.to, "to", nil, "`ADDRESS` that mail goes to (repeatable)")
	fs.StringArrayVar(&f.events, "event", nil, "`EVENT` to tell of, such as build_started (repeatable)")
	fs.StringArrayVar(&f.statuses, "status", nil, "only with this `STATUS`, such as failed (repeatable)")
	fs.StringArrayVar(&f.branches, "branch", nil, "only of branches like `PATTERN` (repeatable)")
	fs.StringArrayVar(&f.onlyNamed, "only-project", nil, "of a target of all projects: only those like `PATTERN` (repeatable)")
	fs.BoolVar(&f.changed, "changed", false, "only builds that end otherwise than the one before on their branch: fixed, or broken")
	fs.BoolVar(&f.disable, "disable", false, "tell nothing until --enable")
	fs.BoolVar(&f.enable, "enable", false, "take back --disable")
	fs.BoolVar(&asJSON, "json", false, "print the target as JSON")
	o.register(cmd)
	return cmd
}

// change puts what the flags name into a target.
func (f *targetFlags) change(t *client.PutTarget, named func(string) bool) error {
	var wrong []error
	if f.disable && f.enable {
		wrong = append(wrong, errors.New("--disable and --enable: want one of them"))
	}
	if f.urlFile == "-" && f.secretFile == "-" {
		wrong = append(wrong, errors.New("--url-file and --secret-file: only one of them can be standard input"))
	}
	if named("kind") {
		t.Kind = f.kind
	}
	if f.url != "" && t.Kind != "webhook" {
		wrong = append(wrong, errors.New("--url: is for webhooks; the address of a chat is its password, so give a file that holds it to --url-file"))
	}
	read := func(flag, name string) string {
		text, err := readSecretFile(name)
		if err == nil && text == "" {
			err = fmt.Errorf("%s is empty", name)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--%s: %w", flag, err))
		}
		return text
	}
	if f.url != "" {
		t.URL = f.url
	}
	if f.urlFile != "" {
		t.URL = read("url-file", f.urlFile)
	}
	if f.secretFile != "" {
		secret := read("secret-file", f.secretFile)
		t.Secret = &secret
	}
	f.changeMail(t, named)
	for _, l := range []struct {
		flag string
		from []string
		to   *[]string
	}{{"event", f.events, &t.Events}, {"status", f.statuses, &t.Statuses}, {"branch", f.branches, &t.Branches}, {"only-project", f.onlyNamed, &t.Projects}} {
		if named(l.flag) {
			*l.to = nonEmpty(l.from)
		}
	}
	if named("changed") {
		t.Changed = f.changed
	}
	if f.disable || f.enable {
		t.Disabled = f.disable
	}
	if len(wrong) > 0 {
		return &exitError{code: exitUsage, err: errors.Join(wrong...)}
	}
	return nil
}

func (f *targetFlags) changeMail(t *client.PutTarget, named func(string) bool) {
	if !named("smtp") && !named("smtp-tls") && !named("smtp-user") && !named("from") && !named("to") {
		return
	}
	if t.Mail == nil {
		t.Mail = &client.MailRoute{}
	}
	for _, l := range []struct {
		flag string
		from string
		to   *string
	}{{"smtp", f.smtp, &t.Mail.Server}, {"smtp-tls", f.smtpTLS, &t.Mail.TLS}, {"smtp-user", f.smtpUser, &t.Mail.User}, {"from", f.from, &t.Mail.From}} {
		if named(l.flag) {
			*l.to = l.from
		}
	}
	if named("to") {
		t.Mail.To = nonEmpty(f.to)
	}
}

// nonEmpty drops empty texts, so that --branch ” takes all away.
func nonEmpty(list []string) []string {
	var out []string
	for _, s := range list {
		if s != "" {
			out = append(out, s)
		}
	}
	return out
}

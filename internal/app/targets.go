package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// targetScope lets those pass who may see and change targets: of a project its
// maintainers, of all projects ("") the administrators.
func (a *App) targetScope(ctx context.Context, project string) (ci.User, error) {
	if project == "" {
		return manage(ctx, serverTarget)
	}
	_, u, err := a.enter(ctx, changeTarget, project)
	return u, err
}

// Targets lists the targets of a project, or those of all projects for "".
func (a *App) Targets(ctx context.Context, project string) ([]ci.Target, error) {
	if _, err := a.targetScope(ctx, project); err != nil {
		return nil, err
	}
	return a.cfg.Store.Targets(ctx, project)
}

// Target shows a target, without its secret.
func (a *App) Target(ctx context.Context, project, name string) (ci.Target, error) {
	_, t, err := a.target(ctx, project, name)
	return t, err
}

func (a *App) target(ctx context.Context, project, name string) (ci.User, ci.Target, error) {
	u, err := a.targetScope(ctx, project)
	if err != nil {
		return u, ci.Target{}, err
	}
	if !validTargetName(name) {
		return u, ci.Target{}, fmt.Errorf("target %.100q: %w", name, ci.ErrNotFound)
	}
	t, err := a.cfg.Store.Target(ctx, project, name)
	return u, t, err
}

// PutTarget asks for a target. Of a chat the URL is the secret.
type PutTarget struct {
	ci.Target
	Secret *string // key of a webhook, password of a mail server; nil = as it is
}

// TargetPut is a target as it is now stored. The secret is there when the server
// made it up, this once.
type TargetPut struct {
	ci.Target
	Secret string `json:"secret,omitempty"`
}

// PutTarget makes a target, or replaces one; a secret that is not given stays. A
// new webhook without a key is given one.
func (a *App) PutTarget(ctx context.Context, put PutTarget) (out TargetPut, made bool, err error) {
	u, err := a.targetScope(ctx, put.Project)
	if err != nil {
		return out, false, err
	}
	var old ci.Target
	if validTargetName(put.Name) {
		if old, err = a.cfg.Store.Target(ctx, put.Project, put.Name); err != nil && !errors.Is(err, ci.ErrNotFound) {
			return out, false, err
		}
	}
	if err := checkTarget(put, old); err != nil {
		return out, false, err
	}
	secret := put.Secret
	switch {
	case put.Kind.Chat() && put.URL != old.URL:
		whole := put.URL
		secret, put.URL = &whole, maskURL(whole)
	case put.Kind == ci.TargetWebhook && secret == nil && (old.Kind != put.Kind || !old.HasSecret):
		out.Secret = "whsec_" + rand.Text()
		secret = &out.Secret
	}
	var sealed *string
	if secret != nil {
		text := ""
		if *secret != "" {
			if text, err = a.cfg.Seal(ctx, put.SecretName(), *secret); err != nil {
				return out, false, err
			}
		}
		sealed = &text
	}
	put.Sealed = ""
	ctx = a.noting(ctx, u, targetVerb(put.Project), put.Project, "put "+describeTarget(put.Target))
	if out.Target, made, err = a.cfg.Store.PutTarget(ctx, put.Target, sealed); err != nil {
		return TargetPut{}, false, err
	}
	return out, made, a.changed(ctx, u, targetVerb(put.Project), put.Project, "", "put "+describeTarget(out.Target))
}

func targetVerb(project string) verb {
	if project == "" {
		return serverTarget
	}
	return changeTarget
}

// DeleteTarget removes a target with what is on its way to it.
func (a *App) DeleteTarget(ctx context.Context, project, name string) error {
	u, t, err := a.target(ctx, project, name)
	if err != nil {
		return err
	}
	ctx = a.noting(ctx, u, targetVerb(project), project, "delete "+describeTarget(t))
	if err := a.cfg.Store.DeleteTarget(ctx, project, name); err != nil {
		return err
	}
	return a.changed(ctx, u, targetVerb(project), project, "", "delete "+describeTarget(t))
}

// TargetTest is what came of a test.
type TargetTest struct {
	Delivered bool          `json:"delivered"`
	Error     string        `json:"error,omitempty"`
	Took      time.Duration `json:"tookNanoseconds"`
}

// TestTarget sends a notice to a target, now and once, and says what came of it.
func (a *App) TestTarget(ctx context.Context, project, name string) (TargetTest, error) {
	u, t, err := a.target(ctx, project, name)
	if err != nil {
		return TargetTest{}, err
	}
	at := a.cfg.Now()
	sent := a.cfg.Try(ctx, t, ci.Notice{
		Event: ci.EventBuildFinished, Project: project, Status: ci.Succeeded, Initiator: u.Name, Time: at, Test: true,
	})
	if err := ctx.Err(); err != nil {
		return TargetTest{}, err
	}
	out := TargetTest{Delivered: sent == nil, Took: a.cfg.Now().Sub(at)}
	if sent != nil {
		out.Error = ci.Message(sent)
	}
	return out, a.changed(ctx, u, targetVerb(project), project, "", "test "+describeTarget(t))
}

// Deliveries lists what went or goes to a target, the newest first, of one state
// or ("") of all.
func (a *App) Deliveries(ctx context.Context, project, name string, state ci.DeliveryState, p Page) ([]ci.Delivery, string, error) {
	_, t, err := a.target(ctx, project, name)
	if err != nil {
		return nil, "", err
	}
	return a.cfg.Store.Deliveries(ctx, t.ID, state, p.After, p.Limit)
}

// Redeliver has a delivery sent again; with 0 all that were given up. It says how
// many.
func (a *App) Redeliver(ctx context.Context, project, name string, id int64) (int64, error) {
	u, t, err := a.target(ctx, project, name)
	if err != nil {
		return 0, err
	}
	ctx = a.noting(ctx, u, targetVerb(project), project, "send again to "+describeTarget(t))
	n, err := a.cfg.Store.Redeliver(ctx, t.ID, id)
	if err != nil {
		return 0, err
	}
	return n, a.changed(ctx, u, targetVerb(project), project, "", fmt.Sprintf("send %d again to %s", n, describeTarget(t)))
}

func describeTarget(t ci.Target) string {
	text := fmt.Sprintf("target %q: %s", t.Name, t.Kind)
	switch {
	case t.Mail != nil:
		text += " by " + t.Mail.Server + " to " + strings.Join(t.Mail.To, ", ")
	case t.URL != "":
		text += " at " + maskURL(t.URL)
	}
	if t.Disabled {
		text += ", disabled"
	}
	return text
}

// maskURL is an address without what may be secret in it.
func maskURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host + "/…"
}

// Limits of what a target may say.
const (
	maxTargetName = 64
	maxPatterns   = 100
	maxReaders    = 50
)

// validTargetName says whether a target can be called that: no flag, and no step in a path.
func validTargetName(name string) bool {
	for i := range len(name) {
		c := name[i]
		letter := '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return name != "" && len(name) <= maxTargetName
}

// checkTarget says all that is wrong with a target.
func checkTarget(put PutTarget, old ci.Target) error {
	in := &Invalid{}
	if !validTargetName(put.Name) {
		in.add("name", "%.100q cannot be the name of a target: want 1 to %d letters A to Z and a to z, digits, '.', '_' and '-', not beginning with '.' or '-'", put.Name, maxTargetName)
	}
	if !slices.Contains(ci.TargetKinds(), put.Kind) {
		in.add("kind", "%.100q is not a kind of target: want one of %s", put.Kind, join(ci.TargetKinds()))
		return in.err()
	}
	if put.Secret != nil {
		in.text("secret", *put.Secret, maxText)
	}
	if put.Kind == ci.TargetMail {
		in.mailRoute(put, old)
	} else {
		in.webAddress(put, old)
	}
	for i, e := range put.Events {
		if !slices.Contains(ci.StoredEvents(), e) {
			in.add(fmt.Sprintf("events[%d]", i), "%.100q is not an event: want one of %s", e, join(ci.StoredEvents()))
		}
	}
	for i, s := range put.Statuses {
		if !slices.Contains(ci.Statuses(), s) {
			in.add(fmt.Sprintf("statuses[%d]", i), "%.100q is not a status: want one of %s", s, join(ci.Statuses()))
		}
	}
	in.few("events", len(put.Events))
	in.few("statuses", len(put.Statuses))
	in.patterns("branches", put.Branches)
	in.patterns("projects", put.Projects)
	if put.Project != "" && len(put.Projects) > 0 {
		in.add("projects", "the target is of the project %s alone: leave it out", put.Project)
	}
	if put.Changed && len(put.Events) > 0 && !slices.Contains(put.Events, ci.EventBuildFinished) {
		in.add("changed", "compares the ends of builds: want %s among the events", ci.EventBuildFinished)
	}
	return in.err()
}

func join[T ~string](list []T) string {
	texts := make([]string, len(list))
	for i, l := range list {
		texts[i] = string(l)
	}
	return strings.Join(texts, ", ")
}

func (i *Invalid) few(at string, n int) {
	if n > maxPatterns {
		i.add(at, "%d of them: want at most %d", n, maxPatterns)
	}
}

func (i *Invalid) patterns(at string, list []string) {
	i.few(at, len(list))
	for n, p := range list[:min(len(list), maxPatterns)] {
		here := fmt.Sprintf("%s[%d]", at, n)
		i.text(here, p, maxTagValue)
		if _, err := path.Match(p, ""); err != nil || p == "" {
			i.add(here, "%.100q: want a name, in which * stands for any text and ? for one character", p)
		}
	}
}

func (i *Invalid) webAddress(put PutTarget, old ci.Target) {
	if put.Mail != nil {
		i.add("mail", "is for targets of the kind mail: leave it out")
	}
	if put.Kind.Chat() && put.Secret != nil {
		i.add("secret", "the address of a chat is its secret: leave this out")
	}
	if put.Kind.Chat() && put.Kind == old.Kind && put.URL == old.URL && put.URL != "" {
		return // it is shown without what is secret, and so comes back
	}
	i.text("url", put.URL, maxText)
	u, err := url.Parse(put.URL)
	switch {
	case put.URL == "":
		i.add("url", "is missing: want the address to send to, https://…")
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		i.add("url", "want an address such as https://example.com/hook")
	case u.User != nil:
		i.add("url", "holds a user or password, which all who see the target would see: leave it out, and look at the signature instead")
	}
}

func (i *Invalid) mailRoute(put PutTarget, old ci.Target) {
	if put.URL != "" {
		i.add("url", "is not for mail: leave it out")
	}
	r := put.Mail
	if r == nil {
		i.add("mail", "is missing: want server, from and to")
		return
	}
	host, port, err := net.SplitHostPort(r.Server)
	if err != nil || host == "" || port == "" || strings.Trim(port, "0123456789") != "" || len(port) > 5 {
		i.add("mail.server", "%.100q: want HOST:PORT, such as smtp.example.com:587", r.Server)
	}
	switch r.TLS {
	case "", "starttls", "tls":
	case "none":
		if ip := net.ParseIP(host); r.User != "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			i.add("mail.tls", "without TLS the password would cross the network for all to read: want starttls or tls")
		}
	default:
		i.add("mail.tls", "%.100q: want starttls, tls or none", r.TLS)
	}
	i.line("mail.user", r.User, maxTagValue)
	i.mailAddress("mail.from", r.From)
	if len(r.To) == 0 || len(r.To) > maxReaders {
		i.add("mail.to", "%d addresses: want 1 to %d", len(r.To), maxReaders)
	}
	for n, to := range r.To[:min(len(r.To), maxReaders)] {
		i.mailAddress(fmt.Sprintf("mail.to[%d]", n), to)
	}
	switch {
	case put.Secret != nil && *put.Secret != "" && r.User == "":
		i.add("mail.user", "is missing: a password needs one")
	case r.User != "" && put.Secret == nil && (old.Mail == nil || !old.HasSecret):
		i.add("secret", "is missing: want the password of %s", r.User)
	case put.Secret == nil && old.Mail != nil && old.HasSecret && (old.Mail.Server != r.Server || old.Mail.TLS != r.TLS):
		// Or one who may change the target, and does not know the password, would have it sent to him.
		i.add("secret", "is kept for %s as it was: give the password again", old.Mail.Server)
	}
}

func (i *Invalid) mailAddress(at, text string) {
	i.line(at, text, maxMail)
	if a, err := mail.ParseAddress(text); err != nil || !strings.Contains(a.Address, "@") {
		i.add(at, "%.100q: want an address such as ann@example.com, or Ann <ann@example.com>", text)
	}
}

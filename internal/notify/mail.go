package notify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail"

	"github.com/sluice-ci/sluice/internal/ci"
)

// mail sends a mail. The secret is the password.
func (n *Notifier) mail(ctx context.Context, t ci.Target, secret string, d ci.Delivery) error {
	if t.Mail == nil {
		return &Hopeless{errors.New("the target has no mail server")}
	}
	m, err := n.letter(*t.Mail, d)
	if err != nil {
		return &Hopeless{err}
	}
	c, err := n.mailer(*t.Mail, secret)
	if err != nil {
		return &Hopeless{err}
	}
	err = c.DialAndSendWithContext(ctx, m)
	var answer *textproto.Error
	if errors.As(err, &answer) && answer.Code == 535 {
		err = fmt.Errorf("the mail server does not take the user and password: %w", err)
	}
	return err
}

func (n *Notifier) mailer(r ci.MailRoute, password string) (*mail.Client, error) {
	host, p, err := net.SplitHostPort(r.Server)
	if err != nil {
		return nil, fmt.Errorf("mail server: %w", err)
	}
	port, err := strconv.Atoi(p)
	if err != nil {
		return nil, fmt.Errorf("mail server: %w", err)
	}
	certificate := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, RootCAs: n.cfg.roots}
	options := []mail.Option{
		mail.WithPort(port), mail.WithTimeout(n.cfg.Each), mail.WithTLSConfig(certificate), mail.WithDialContextFunc(n.dialer().DialContext),
		mail.WithoutNoop(),
	}
	auth := mail.SMTPAuthAutoDiscover
	switch r.TLS {
	case "none":
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	case "tls":
		secure := &tls.Dialer{NetDialer: n.dialer(), Config: certificate}
		options = append(options, mail.WithTLSPolicy(mail.NoTLS), mail.WithDialContextFunc(secure.DialContext))
		auth = mail.SMTPAuthPlain // the library does not see that the connection is encrypted, and would choose none
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if r.User != "" {
		options = append(options, mail.WithSMTPAuth(auth), mail.WithUsername(r.User), mail.WithPassword(password))
	}
	return mail.NewClient(host, options...)
}

// letter is the mail. All about one build are one thread, and the same notice sent
// twice has the same ID.
func (n *Notifier) letter(r ci.MailRoute, d ci.Delivery) (*mail.Msg, error) {
	m := mail.NewMsg()
	if err := m.From(r.From); err != nil {
		return nil, fmt.Errorf("sender: %w", err)
	}
	if err := m.To(r.To...); err != nil {
		return nil, fmt.Errorf("readers: %w", err)
	}
	at := "sluice.invalid"
	if u, err := url.Parse(n.cfg.URL()); err == nil && u.Hostname() != "" {
		at = u.Hostname()
	}
	thread := fmt.Sprintf("%s@%s", d.Notice.Build, at)
	if d.Notice.Test {
		thread = fmt.Sprintf("test-%d@%s", d.Notice.Time.UnixNano(), at)
	}
	m.SetMessageIDWithValue(fmt.Sprintf("%d.%d.%s", d.Target, d.Notice.Seq, thread))
	m.SetGenHeader(mail.HeaderReferences, "<"+thread+">")
	m.SetGenHeader(mail.HeaderInReplyTo, "<"+thread+">")
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetGenHeader("X-Sluice-Project", oneLine(d.Notice.Project))
	m.SetGenHeader("X-Sluice-Status", string(d.Notice.Status))
	m.SetDateWithValue(d.Notice.Time)
	m.Subject(headline(d.Notice))
	var b strings.Builder
	b.WriteString(headline(d.Notice) + "\n\n")
	for _, one := range details(d.Notice) {
		fmt.Fprintf(&b, "%-11s %s\n", one.name+":", one.value)
	}
	b.WriteString("\n" + d.Notice.URL + "\n")
	m.SetBodyString(mail.TypeTextPlain, b.String())
	return m, nil
}

package notify

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http/httptest"
	"net/mail"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	"github.com/sluice-ci/sluice/internal/ci"
)

func notice() ci.Notice {
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	return ci.Notice{
		Event: ci.EventBuildFinished, Project: "app", Number: 12, Build: "b12", Seq: 9, Status: ci.Failed, Change: ci.ChangeBroken,
		Reason: "step 3 failed: exit 1", Ref: "refs/heads/feature/x", Commit: "c0ffee1234567890", Subject: "mend <!channel> @here *it*\r\nBcc: x@example.com",
		Author: "Ann", Initiator: "ann", Started: at, Ended: at.Add(90 * time.Second), URL: "http://ci.example.com/projects/app/builds/12", Time: at,
	}
}

// Text of others calls nobody and is no markup, in any chat.
func TestChat(t *testing.T) {
	t.Parallel()
	for kind, want := range map[ci.TargetKind][]string{
		ci.TargetSlack:      {`"title_link":"http://ci.example.com/projects/app/builds/12"`, `"color":"#d00000"`, `mend \u0026lt;!channel\u0026gt; @here *it*`, "app #12 failed on feature/x (broken)"},
		ci.TargetMattermost: {`"title_link":"http://ci.example.com/projects/app/builds/12"`, "@\u200bhere", `\\*it\\*`},
		ci.TargetDiscord:    {`"allowed_mentions":{"parse":[]}`, `"color":13631488`, `\\*it\\*`, `"url":"http://ci.example.com/projects/app/builds/12"`},
		ci.TargetTeams:      {`"contentType":"application/vnd.microsoft.card.adaptive"`, `"color":"Attention"`, `"type":"Action.OpenUrl"`, `1m30s`},
	} {
		url, got := receiver(t, nil)
		n := New(newBench(t).config())
		err := n.Send(t.Context(), ci.Target{Kind: kind, Sealed: url}, ci.Delivery{Notice: notice()})
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		r := next(t, got)
		if !json.Valid(r.body) || r.header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: got %s as %s", kind, r.body, r.header.Get("Content-Type"))
		}
		for _, text := range want {
			if !strings.Contains(string(r.body), text) {
				t.Errorf("%s: got %s\nwant %s in it", kind, r.body, text)
			}
		}
	}
}

// An address that is a password is in no error.
func TestChatErrorsHideTheAddress(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"http://127.0.0.1:1/SECRET", "http://no.such.host.invalid/SECRET", "http://127.0.0.1:1/SECRET\x7f"} {
		err := New(newBench(t).config()).Send(t.Context(), ci.Target{Kind: ci.TargetSlack, Sealed: url}, ci.Delivery{Notice: notice()})
		if err == nil || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("got %v, want an error without the address", err)
		}
	}
}

func TestGuard(t *testing.T) {
	t.Parallel()
	url, got := receiver(t, nil)
	c := newBench(t).config()
	c.Allow = Allowed{}
	send := func(url string) error {
		return New(c).Send(t.Context(), ci.Target{Kind: ci.TargetWebhook, URL: url}, ci.Delivery{Notice: notice()})
	}
	for _, u := range []string{url, strings.Replace(url, "127.0.0.1", "localhost", 1), strings.Replace(url, "127.0.0.1", "[::ffff:127.0.0.1]", 1),
		"http://169.254.169.254/latest/meta-data/", "http://0.0.0.0:80/", "http://[::1]:80/"} {
		if err := send(u); !errors.Is(err, ci.ErrDenied) || !hopeless(err) || !strings.Contains(err.Error(), "--notify-allow") {
			t.Errorf("%s: got %v, want ErrDenied that says who can allow it", u, err)
		}
	}
	err := New(c).Send(t.Context(), ci.Target{Kind: ci.TargetMail, Mail: &ci.MailRoute{Server: "127.0.0.1:25", TLS: "none", From: "a@example.com", To: []string{"b@example.com"}}}, ci.Delivery{Notice: notice()})
	if !errors.Is(err, ci.ErrDenied) {
		t.Errorf("mail: got %v, want ErrDenied", err)
	}
	if len(got) > 0 {
		t.Error("a request went out")
	}
	if c.Allow, err = ParseAllowed("10.0.0.0/8, 127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	if err := send(url); err != nil {
		t.Errorf("allowed: %v", err)
	}
}

func TestPublic(t *testing.T) {
	t.Parallel()
	for _, ip := range []string{
		"127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "0.1.2.3", "224.0.0.1", "255.255.255.255",
		"::", "::1", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::", "2001:db8::1", "::7f00:1", "fec0::1",
	} {
		if (Allowed{}).Check(netip.MustParseAddr(ip)) == nil {
			t.Errorf("%s is let through", ip)
		}
	}
	for _, ip := range []string{"8.8.8.8", "1.1.1.1", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"} {
		if err := (Allowed{}).Check(netip.MustParseAddr(ip)); err != nil {
			t.Error(err)
		}
	}
}

// FuzzParseAllowed: what is read is what it says: each network of the list is
// allowed, and without "all" not everything is.
func FuzzParseAllowed(f *testing.F) {
	for _, s := range []string{"", "all", "10.0.0.0/8, 192.168.1.5", "::1,fd00::/8", "10.0.0.0/33", "fe80::1%eth0", ",,", "::ffff:10.0.0.0/104"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a, err := ParseAllowed(text)
		if err != nil {
			if !errors.Is(err, ci.ErrInvalid) {
				t.Errorf("%q: got %v, want ErrInvalid", text, err)
			}
			return
		}
		if a.all != (strings.TrimSpace(text) == "all") {
			t.Errorf("%q allows all: %v", text, a.all)
		}
		for _, n := range a.nets {
			if !n.Addr().Is4In6() && a.Check(n.Addr()) != nil {
				t.Errorf("%q: %s is in it and refused", text, n.Addr())
			}
		}
	})
}

// post is a real SMTP server that keeps what it is given.
type post struct {
	user, password string
	got            chan letterGot
}

type letterGot struct {
	from string
	to   []string
	text string
	tls  bool
	user string
}

func (p *post) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &postSession{post: p, conn: c}, nil
}

type postSession struct {
	post *post
	conn *smtp.Conn
	got  letterGot
}

func (s *postSession) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *postSession) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != s.post.user || password != s.post.password {
			return errors.New("no such user")
		}
		s.got.user = user
		return nil
	}), nil
}

func (s *postSession) Mail(from string, _ *smtp.MailOptions) error {
	if s.post.user != "" && s.got.user == "" {
		return &smtp.SMTPError{Code: 530, Message: "log in first"}
	}
	s.got.from = from
	return nil
}

func (s *postSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.got.to = append(s.got.to, to)
	return nil
}

func (s *postSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	_, s.got.tls = s.conn.TLSConnectionState()
	s.got.text = string(text)
	s.post.got <- s.got
	return nil
}

func (s *postSession) Reset()        {}
func (s *postSession) Logout() error { return nil }

// serve runs the server; implicit says whether it speaks TLS from the first byte.
func (p *post) serve(t *testing.T, implicit bool) (address string, roots *x509.CertPool) {
	t.Helper()
	web := httptest.NewTLSServer(nil) // for its certificate, which is good for example.com and 127.0.0.1
	roots = x509.NewCertPool()
	roots.AddCert(web.Certificate())
	config := &tls.Config{Certificates: web.TLS.Certificates}
	web.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	s := smtp.NewServer(p)
	s.Domain = "example.com"
	if implicit {
		l = tls.NewListener(l, config)
	} else {
		s.TLSConfig = config
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-ended
	})
	return address, roots
}

func TestMail(t *testing.T) {
	t.Parallel()
	for _, implicit := range []bool{false, true} {
		p := &post{user: "ci", password: "p\u00e4ss word", got: make(chan letterGot, 4)}
		address, roots := p.serve(t, implicit)
		c := newBench(t).config()
		c.roots = roots
		n := New(c)
		target := ci.Target{ID: 7, Kind: ci.TargetMail, Sealed: p.password, Mail: &ci.MailRoute{
			Server: address, User: "ci", From: "Sluice <ci@example.com>", To: []string{"ann@example.com", "B\u00f6b <bob@example.com>"},
		}}
		if implicit {
			target.Mail.TLS = "tls"
		}
		for range 2 {
			if err := n.Send(t.Context(), target, ci.Delivery{Target: 7, Notice: notice()}); err != nil {
				t.Fatalf("tls from the first byte %v: %v", implicit, err)
			}
		}
		first, second := <-p.got, <-p.got
		if !first.tls || first.user != "ci" || first.from != "ci@example.com" || strings.Join(first.to, " ") != "ann@example.com bob@example.com" {
			t.Errorf("got %+v", first)
		}
		m, err := mail.ReadMessage(strings.NewReader(first.text))
		if err != nil {
			t.Fatal(err)
		}
		again, err := mail.ReadMessage(strings.NewReader(second.text))
		if err != nil {
			t.Fatal(err)
		}
		h := m.Header
		if h.Get("Subject") != "app #12 failed on feature/x (broken)" || h.Get("Message-Id") != "<7.9.b12@ci.example.com>" || h.Get("References") != "<b12@ci.example.com>" ||
			h.Get("Auto-Submitted") != "auto-generated" || h.Get("Bcc") != "" || again.Header.Get("Message-Id") != h.Get("Message-Id") {
			t.Errorf("got headers %v", h)
		}
		body, err := io.ReadAll(m.Body)
		if err != nil || !strings.Contains(string(body), "http://ci.example.com/projects/app/builds/12") || !strings.Contains(string(body), "Took:       1m30s") {
			t.Errorf("got body %s, %v", body, err)
		}
		wrong := target
		wrong.Sealed = "other"
		if err := n.Send(t.Context(), wrong, ci.Delivery{Notice: notice()}); err == nil || strings.Contains(err.Error(), "other") {
			t.Errorf("with another password: got %v, want an error without it", err)
		}
		strangers := New(newBench(t).config()) // who do not know the certificate
		if err := strangers.Send(t.Context(), target, ci.Delivery{Notice: notice()}); err == nil || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("a certificate that nobody vouches for: got %v", err)
		}
	}
}

// A server that takes no TLS gets nothing, unless the target says so.
func TestMailWithoutTLS(t *testing.T) {
	t.Parallel()
	p := &post{got: make(chan letterGot, 1)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := smtp.NewServer(p)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		<-ended
	})
	n := New(newBench(t).config())
	target := ci.Target{Kind: ci.TargetMail, Mail: &ci.MailRoute{Server: l.Addr().String(), From: "a@example.com", To: []string{"b@example.com"}}}
	if err := n.Send(t.Context(), target, ci.Delivery{Notice: notice()}); err == nil || !strings.Contains(strings.ToLower(err.Error()), "tls") {
		t.Errorf("got %v, want that there is no TLS", err)
	}
	target.Mail.TLS = "none"
	if err := n.Send(t.Context(), target, ci.Delivery{Notice: notice()}); err != nil {
		t.Fatal(err)
	}
	if got := <-p.got; got.tls || got.from != "a@example.com" {
		t.Errorf("got %+v", got)
	}
}

// One that takes the connection and says nothing is left after the time for one attempt.
func TestSilence(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := newBench(t).config()
	c.Each = 20 * time.Millisecond
	for _, target := range []ci.Target{
		{Kind: ci.TargetWebhook, URL: "http://" + l.Addr().String()},
		{Kind: ci.TargetMail, Mail: &ci.MailRoute{Server: l.Addr().String(), From: "a@example.com", To: []string{"b@example.com"}}},
	} {
		if err := New(c).Send(context.WithoutCancel(t.Context()), target, ci.Delivery{Notice: notice()}); err == nil || hopeless(err) {
			t.Errorf("%s: got %v, want an error that may pass", target.Kind, err)
		}
	}
}

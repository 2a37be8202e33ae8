package notify

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/sluice-ci/sluice/internal/ci"
)

// Allowed are addresses that targets may have although they are not public.
// Whoever may set up targets can otherwise have the server ask, in its own name,
// what only it can reach: other services of the machine, the cloud's metadata.
type Allowed struct {
	all  bool
	nets []netip.Prefix
}

// ParseAllowed reads a list of networks and addresses, separated by commas, such
// as "10.0.0.0/8, 192.168.1.5"; "all" allows every address, "" none.
func ParseAllowed(text string) (a Allowed, err error) {
	if strings.TrimSpace(text) == "all" {
		return Allowed{all: true}, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		if part == "" {
			continue
		}
		p, err := netip.ParsePrefix(part)
		if err != nil {
			ip, also := netip.ParseAddr(part)
			if also != nil || ip.Zone() != "" {
				return Allowed{}, fmt.Errorf("%.100q is no network: want one such as 10.0.0.0/8, an address, or all: %w", part, ci.ErrInvalid)
			}
			p = netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen())
		}
		a.nets = append(a.nets, p.Masked())
	}
	return a, nil
}

// Check refuses an address that is not public and not allowed.
func (a Allowed) Check(ip netip.Addr) error {
	ip = ip.Unmap().WithZone("")
	if a.all || public(ip) {
		return nil
	}
	for _, n := range a.nets {
		if n.Contains(ip) {
			return nil
		}
	}
	return fmt.Errorf("%s is not a public address; an administrator can allow it with --notify-allow: %w", ip, ci.ErrDenied)
}

// public says whether an address is one of the Internet's. Embedded IPv4
// addresses are looked at as what they are.
func public(ip netip.Addr) bool {
	switch {
	case !ip.IsValid(), ip.IsUnspecified(), ip.IsLoopback(), ip.IsPrivate(), ip.IsMulticast(),
		ip.IsLinkLocalUnicast(), ip.IsInterfaceLocalMulticast():
		return false
	}
	for _, n := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "240.0.0.0/4", // IANA's special purpose registries, RFC 6890
		"64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16", "fec0::/10", "::/96",
	} {
		if netip.MustParsePrefix(n).Contains(ip) {
			return false
		}
	}
	if b := ip.As16(); ip.Is6() {
		switch {
		case netip.MustParsePrefix("64:ff9b::/96").Contains(ip): // NAT64
			return public(netip.AddrFrom4([4]byte(b[12:])))
		case netip.MustParsePrefix("2002::/16").Contains(ip): // 6to4
			return public(netip.AddrFrom4([4]byte(b[2:6])))
		}
	}
	return true
}

// dialer connects to public addresses, and to those allowed. It looks at the
// address that is connected to, behind all names, so that a name which changes
// its mind gets nobody further.
func (n *Notifier) dialer() *net.Dialer {
	return &net.Dialer{
		Timeout: 10 * time.Second,
		ControlContext: func(_ context.Context, network, address string, _ syscall.RawConn) error {
			to, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("address %q: %w", address, err)
			}
			if err := n.cfg.Allow.Check(to.Addr()); err != nil {
				return &Hopeless{err}
			}
			return nil
		},
	}
}

// newHTTP makes a client that goes where it is sent and nowhere else: no proxy of
// the environment, which would do the connecting unguarded, and no redirects.
func (n *Notifier) newHTTP() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: n.dialer().DialContext, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: time.Minute, MaxIdleConnsPerHost: 1, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

package api

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/sluice-ci/sluice/internal/ci"
)

// overSocket is the address of a client of a unix socket.
const overSocket = "unix socket"

// origin says where a request came from. What a proxy says of its client counts
// when the proxy is one of ours; of several in a row, each is believed about the
// one before it.
func (a *API) origin(r *http.Request) ci.Origin {
	o := ci.Origin{Address: overSocket, Request: requestID(r.Context())}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err == nil {
		o.Address = host
	}
	if len(a.cfg.Proxies) == 0 {
		return o
	}
	said := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(said) - 1; i >= 0 && a.ours(o.Address); i-- {
		ip, err := netip.ParseAddr(strings.TrimSpace(said[i]))
		if err != nil {
			break
		}
		o.Address = ip.Unmap().WithZone("").String()
	}
	return o
}

// ours says whether a proxy that we believe is at the address. Who can connect to
// the socket is the proxy.
func (a *API) ours(address string) bool {
	if address == overSocket {
		return true
	}
	ip, err := netip.ParseAddr(address)
	return err == nil && slices.ContainsFunc(a.cfg.Proxies, func(p netip.Prefix) bool { return p.Contains(ip.Unmap().WithZone("")) })
}

// Package egress guards what the operator connects to. An address in Git or in
// a store is an outsider's word: it must not lead to the link-local and
// metadata addresses behind which clouds hand out the node's own credentials.
// The guard looks at what a name resolved to, for each connection.
package egress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// ErrRefused says that a host has, or resolved to, an address that nothing is
// connected to.
var ErrRefused = errors.New("the host has a link-local, metadata, multicast or unspecified address")

// Guard lets pass what is not refused, and what is allowed all the same. The
// zero Guard allows nothing more.
type Guard struct{ allowed []netip.Prefix }

// Parse reads CIDRs or addresses that are separated by commas, for instance
// "169.254.170.23,fd00:ec2::23/128". "" allows nothing more.
func Parse(text string) (Guard, error) {
	var g Guard
	if strings.TrimSpace(text) == "" {
		return g, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		prefix, err := netip.ParsePrefix(part)
		if err != nil {
			var ip netip.Addr
			if ip, err = netip.ParseAddr(part); err == nil {
				ip = ip.WithZone("")
				prefix = netip.PrefixFrom(ip, ip.BitLen())
			}
		}
		if err != nil {
			return Guard{}, fmt.Errorf("%q is no CIDR and no address, as 169.254.170.23/32 is one", part)
		}
		if prefix.Addr().Is4In6() {
			return Guard{}, fmt.Errorf("%q is an IPv4 address inside an IPv6 one: write it as IPv4", part)
		}
		g.allowed = append(g.allowed, prefix.Masked())
	}
	return g, nil
}

// Refuses reports whether nothing is connected to at ip. Loopback and private
// ranges are where in-cluster servers live, and pass.
func (g Guard) Refuses(ip netip.Addr) bool {
	plain := ip.Unmap().WithZone("")
	for _, p := range g.allowed {
		if p.Contains(plain) {
			return false
		}
	}
	return refused(plain)
}

// Dial connects as net.Dialer does, for http.Transport.DialContext. For gRPC
// see DialTCP. An address that is refused gives an error that is ErrRefused.
func (g Guard) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second, Control: g.control}
	return d.DialContext(ctx, network, address)
}

// DialTCP is Dial for grpc.WithContextDialer.
func (g Guard) DialTCP(ctx context.Context, address string) (net.Conn, error) {
	return g.Dial(ctx, "tcp", address)
}

// Proxy is the proxy of the environment, for http.Transport.Proxy. A proxy would
// connect without asking us, so that what has a refused address in place of a
// name is not left to it, but to Dial.
func Proxy(r *http.Request) (*url.URL, error) {
	if ip, err := netip.ParseAddr(r.URL.Hostname()); err == nil && (Guard{}).Refuses(ip) {
		return nil, nil
	}
	return http.ProxyFromEnvironment(r)
}

// control runs after names are resolved, for each address that is tried, so
// that a name which changes its answer does not pass. What has no IP address,
// as a Unix socket, does not pass.
func (g Guard) control(_, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil || g.Refuses(ap.Addr()) {
		return ErrRefused
	}
	return nil
}

// refused knows where nothing that we ask can rightly live.
func refused(ip netip.Addr) bool {
	return !ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip.IsLinkLocalUnicast() ||
		ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || refusedMetadata(ip) || refusedTranslated(ip)
}

// refusedMetadata knows the addresses of metadata services that no prefix
// tells.
func refusedMetadata(ip netip.Addr) bool {
	switch ip.String() {
	case "fd00:ec2::254", // AWS
		"fd00:ec2::23",    // EKS Pod Identity
		"fd20:ce::254",    // Google Cloud
		"168.63.129.16",   // Azure
		"100.100.100.200": // Alibaba Cloud
		return true
	}
	return false
}

// refusedTranslated looks at the IPv4 address inside a NAT64 or 6to4 address,
// by which a gateway would reach it all the same.
func refusedTranslated(ip netip.Addr) bool {
	b := ip.As16()
	switch {
	case netip.MustParsePrefix("64:ff9b::/96").Contains(ip):
		return refused(netip.AddrFrom4([4]byte(b[12:16])))
	case netip.MustParsePrefix("64:ff9b:1::/48").Contains(ip): // RFC 8215; RFC 6052 says where the address may stand
		for _, in := range [][4]byte{{b[6], b[7], b[9], b[10]}, {b[7], b[9], b[10], b[11]}, [4]byte(b[9:13]), [4]byte(b[12:16])} {
			if v4 := netip.AddrFrom4(in); !v4.IsUnspecified() && refused(v4) {
				return true
			}
		}
	case netip.MustParsePrefix("2002::/16").Contains(ip):
		return refused(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return false
}

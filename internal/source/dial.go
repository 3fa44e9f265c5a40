package source

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// addressError says that a host resolved to an address we do not connect to.
type addressError struct{}

func (addressError) Error() string {
	return "the host has a link-local, metadata, multicast or unspecified address"
}

// refused reports whether no repository can rightly live at ip: these are the
// addresses behind which clouds hand out the node's credentials. Loopback and
// private ranges are where in-cluster Git servers live.
func refused(ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
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
	case netip.MustParsePrefix("2002::/16").Contains(ip):
		return refused(netip.AddrFrom4([4]byte(b[2:6])))
	}
	return false
}

// guard runs after names are resolved, for each address that is tried, so that
// a name which changes its answer does not pass.
func guard(_, addr string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return fmt.Errorf("parse address to connect to: %w", err)
	}
	if refused(ap.Addr()) {
		return addressError{}
	}
	return nil
}

func dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second, Control: guard}
	return d.DialContext(ctx, network, addr)
}

// NewTransport returns the HTTP transport of a Store: one that connects to no
// link-local, metadata, multicast or unspecified address. The proxy from the
// environment is honoured; behind one, the proxy resolves names and has to do
// the guarding.
func NewTransport() *http.Transport {
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dial,
		ForceAttemptHTTP2:     true,
		MaxIdleConns:          32,
		MaxIdleConnsPerHost:   2,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   15 * time.Second,
		ResponseHeaderTimeout: 60 * time.Second,
	}
}

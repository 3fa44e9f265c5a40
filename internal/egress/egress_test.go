package egress_test

import (
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/gitseal/gitseal/internal/egress"
)

func TestRefuses(t *testing.T) {
	tests := map[string]bool{
		"169.254.169.254": true, "169.254.0.1": true, "fe80::1": true, "fe80::1%eth0": true, "fd00:ec2::254": true,
		"fd00:ec2::23": true, "fd20:ce::254": true, "168.63.129.16": true, "::ffff:168.63.129.16": true, "64:ff9b::a83f:8110": true,
		"100.100.100.200": true, "0.0.0.0": true, "::": true, "224.0.0.1": true, "ff02::1": true, "255.255.255.255": true,
		"::ffff:169.254.169.254": true, "64:ff9b::a9fe:a9fe": true, "64:ff9b:1::a9fe:a9fe": true, "64:ff9b:1:a9fe:a9:fe00::": true, "64:ff9b:1:a9:fe:a9fe::": true, "2002:a9fe:a9fe::1": true,
		"127.0.0.1": false, "::1": false, "10.0.0.1": false, "192.168.1.1": false, "fd00::1": false, "100.64.0.1": false,
		"140.82.121.4": false, "2606:50c0::1": false, "64:ff9b::8c52:7904": false, "64:ff9b:1::8c52:7904": false, "64:ff9b:1:8c52:79:400::": false,
	}
	for ip, want := range tests {
		if got := (egress.Guard{}).Refuses(netip.MustParseAddr(ip)); got != want {
			t.Errorf("Refuses(%s) = %v, want %v", ip, got, want)
		}
	}
	if !(egress.Guard{}).Refuses(netip.Addr{}) {
		t.Error("no address at all passes")
	}
}

func TestWhatIsAllowedPasses(t *testing.T) {
	tests := map[string]struct {
		allow          string
		passes, blocks []string
	}{
		"one address":        {"169.254.170.23", []string{"169.254.170.23", "::ffff:169.254.170.23"}, []string{"169.254.170.24", "169.254.169.254"}},
		"a range":            {"169.254.170.0/24", []string{"169.254.170.2", "169.254.170.23"}, []string{"169.254.169.254"}},
		"a range, unmasked":  {"169.254.170.9/24", []string{"169.254.170.2"}, []string{"169.254.169.254"}},
		"several":            {" 169.254.169.254/32 , fd00:ec2::23", []string{"169.254.169.254", "fd00:ec2::23"}, []string{"fd00:ec2::254"}},
		"a zone is ignored":  {"fe80::1", []string{"fe80::1%eth0"}, []string{"fe80::2"}},
		"nothing by default": {"", nil, []string{"169.254.169.254"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g, err := egress.Parse(tt.allow)
			if err != nil {
				t.Fatal(err)
			}
			for _, ip := range tt.passes {
				if g.Refuses(netip.MustParseAddr(ip)) {
					t.Errorf("%s is refused", ip)
				}
			}
			for _, ip := range tt.blocks {
				if !g.Refuses(netip.MustParseAddr(ip)) {
					t.Errorf("%s passes", ip)
				}
			}
		})
	}
}

func TestParseRefusesWhatIsNoAddress(t *testing.T) {
	for _, text := range []string{"metadata", "169.254.0.0/33", "1.2.3.4,", "::ffff:169.254.169.254", "::ffff:169.254.0.0/112"} {
		if _, err := egress.Parse(text); err == nil {
			t.Errorf("Parse(%q) gave no error", text)
		}
	}
}

func TestDial(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	socket := filepath.Join(t.TempDir(), "socket")
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	tests := map[string]struct {
		network, address string
		refused          bool
	}{
		"loopback":       {"tcp", server.Listener.Addr().String(), false},
		"metadata":       {"tcp", "169.254.169.254:80", true},
		"unspecified":    {"tcp", "0.0.0.0:80", true},
		"no IP address":  {"unix", socket, true},
		"a mapped one":   {"tcp", "[::ffff:169.254.169.254]:80", true},
		"no host at all": {"tcp", ":80", true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			conn, err := egress.Guard{}.Dial(t.Context(), tt.network, tt.address)
			if err == nil {
				_ = conn.Close()
			}
			if errors.Is(err, egress.ErrRefused) != tt.refused || (err == nil) == tt.refused {
				t.Errorf("Dial = %v, want refused: %v", err, tt.refused)
			}
		})
	}
	// Through net/http the reason is still to be told.
	client := http.Client{Transport: &http.Transport{DialContext: egress.Guard{}.Dial}}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://169.254.169.254/latest", nil)
	if err != nil {
		t.Fatal(err)
	}
	if response, err := client.Do(request); !errors.Is(err, egress.ErrRefused) {
		if err == nil {
			_ = response.Body.Close()
		}
		t.Errorf("Do = %v, want %v", err, egress.ErrRefused)
	}
}

func TestARefusedAddressIsNotLeftToAProxy(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://proxy.example:3128")
	t.Setenv("NO_PROXY", "")
	tests := map[string]bool{
		"http://vault.example": true, "http://10.0.0.1": true,
		"http://169.254.169.254/latest": false, "http://[::ffff:169.254.169.254]:80": false, "http://[fd00:ec2::254]": false,
	}
	for address, want := range tests {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if proxy, err := egress.Proxy(request); err != nil || (proxy != nil) != want {
			t.Errorf("Proxy(%s) = %v, %v, want one: %v", address, proxy, err, want)
		}
	}
}

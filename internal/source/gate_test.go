package source

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gitseal/gitseal/internal/seam"
)

// counter lets calls through until the one that it is told to stop, before or
// after it happened.
type counter struct {
	calls      []string
	stop, lose int // the number of the call, from 1
}

var errStop = errors.New("stopped by the test")

func (c *counter) Enter(call seam.Call) error {
	what, _, _ := strings.Cut(call.Name, " ")
	c.calls = append(c.calls, string(call.Kind)+" "+what)
	if len(c.calls) == c.stop {
		return errStop
	}
	return nil
}

func (c *counter) Leave(_ seam.Call, err error) error {
	if len(c.calls) == c.lose {
		return errStop
	}
	return err
}

func TestEveryQuestionToAServerPassesTheGate(t *testing.T) {
	r := newRepo(t)
	r.commit("refs/heads/main", map[string]file{"a.yaml": text("a: 1\n")})
	private, signer := newKey(t, "")
	sshd := serveSSH(t, filepath.Dir(r.dir), signer.PublicKey())
	httpURL, _ := serve(t, r)
	requests := map[string]Request{
		"http": {URL: httpURL},
		"ssh": {URL: sshd.url(), Credentials: credentials(t, map[string]string{
			"identity": string(private), "known_hosts": string(sshd.knownHosts())})},
	}
	for name, request := range requests {
		t.Run(name, func(t *testing.T) {
			gate := &counter{}
			if _, err := newStore(t, func(o *Options) { o.Gate = gate }).Fetch(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			if want := []string{"git refs", "git upload"}; !slices.Equal(gate.calls, want) {
				t.Errorf("calls = %q, want %q", gate.calls, want)
			}
			for k := 1; k <= 2; k++ {
				for mode, gate := range map[string]*counter{"stopped": {stop: k}, "lost": {lose: k}} {
					store := newStore(t, func(o *Options) { o.Gate = gate })
					if _, err := store.Fetch(t.Context(), request); err == nil {
						t.Errorf("Fetch with call %d %s succeeded", k, mode)
					}
					if _, err := store.Fetch(t.Context(), request); err != nil {
						t.Errorf("Fetch after call %d was %s = %v, want it to recover", k, mode, err)
					}
				}
			}
		})
	}
}

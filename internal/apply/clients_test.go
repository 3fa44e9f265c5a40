package apply

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/gitseal/gitseal/internal/live"
)

type warned struct{ text []string }

func (w *warned) HandleWarningHeader(_ int, _ string, text string) { w.text = append(w.text, text) }

// An admission webhook may put what it was sent into a warning, which client-go
// logs unless it is told not to.
func TestWarningsOfTheAPIServerAreNotLogged(t *testing.T) {
	logged := &warned{}
	rest.SetDefaultWarningHandler(logged)
	t.Cleanup(func() { rest.SetDefaultWarningHandler(rest.WarningLogger{}) })
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Warning", `299 - "the password is hunter2"`)
		_, _ = w.Write([]byte("{}"))
	}))
	t.Cleanup(server.Close)

	config := &rest.Config{Host: server.URL}
	quiet, err := NewClients(config).REST(live.Identity{})
	if err != nil {
		t.Fatal(err)
	}
	if err := quiet.Get().AbsPath("/").Do(t.Context()).Error(); err != nil || len(logged.text) != 0 {
		t.Errorf("Get() = %v and logged %q, want nothing logged", err, logged.text)
	}
	// The same request without our settings shows that there was something to log.
	loud, err := newREST(config, http.DefaultClient)
	if err != nil {
		t.Fatal(err)
	}
	if err := loud.Get().AbsPath("/").Do(t.Context()).Error(); err != nil || len(logged.text) != 1 {
		t.Errorf("Get() = %v and logged %q, want the one warning", err, logged.text)
	}
}

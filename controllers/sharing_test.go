package controllers

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/gitseal/gitseal/internal/shard"
)

// added is a manager that only collects what is to run.
type added struct {
	ctrl.Manager
	runnables []manager.Runnable
}

func (a *added) GetHTTPClient() *http.Client { return http.DefaultClient }
func (a *added) Add(r manager.Runnable) error {
	a.runnables = append(a.runnables, r)
	return nil
}

// Who reads a letter of a push finds the replica that it is from among the
// Leases.
func TestAReplicaHasOneName(t *testing.T) {
	created := make(chan coordinationv1.Lease, 10)
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method == http.MethodPost:
			var lease coordinationv1.Lease
			if err := json.NewDecoder(r.Body).Decode(&lease); err != nil {
				t.Errorf("read a lease: %v", err)
			}
			created <- lease
			_ = json.NewEncoder(rw).Encode(lease)
		case r.URL.Query().Get("watch") != "":
			<-r.Context().Done()
		case r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/leases"):
			_, _ = io.WriteString(rw, `{"apiVersion":"coordination.k8s.io/v1","kind":"LeaseList","metadata":{"resourceVersion":"1"},"items":[]}`)
		default:
			rw.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(rw, `{"apiVersion":"v1","kind":"Status","status":"Failure","reason":"NotFound","code":404}`)
		}
	}))
	defer server.Close()
	d, mgr := newDesk(t), &added{}
	o := Operator{Namespace: "ns", Share: true, Clock: clock.RealClock{}, Random: rand.Reader, Logger: logr.Discard()}
	me, err := o.replica(&rest.Config{Host: server.URL, ContentConfig: rest.ContentConfig{ContentType: "application/json"}}, mgr)
	if err != nil {
		t.Fatal(err)
	}
	polls := newPolls(d.followers, d.signals, d.clock)
	if err := o.share(me, mgr, d.ApplicationReconciler, func(shard.Change) {}); err != nil {
		t.Fatal(err)
	}
	if err := o.passOn(me, mgr, d.ApplicationReconciler, polls); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, r := range mgr.runnables {
		running.Go(func() { _ = r.Start(ctx) })
	}
	polls.pass(word{Repository: "git.example.com/app"})
	var member, letters string
	for member == "" || letters == "" {
		switch lease := <-created; lease.Name {
		case mailboxName:
			letters = lease.Annotations["gitseal.dev/letters"]
		default:
			member = *lease.Spec.HolderIdentity
		}
	}
	stop()
	running.Wait()
	if !strings.Contains(letters, `"from":"`+member+`"`) {
		t.Errorf("letters %s, want them to be from %s", letters, member)
	}
}

package shard

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
)

// newLeases is a store on a server that numbers its versions and refuses what
// was not read since it changed, as the API server does.
func newLeases(t *testing.T, id string) (*Leases, *fake.Clientset) {
	t.Helper()
	client, version := fake.NewClientset(), 0
	number := func(a clienttesting.Action) (bool, runtime.Object, error) {
		lease := a.(clienttesting.CreateAction).GetObject().(*coordinationv1.Lease)
		if a.GetVerb() == "update" {
			stored, err := client.Tracker().Get(a.GetResource(), a.GetNamespace(), lease.Name)
			if err == nil && stored.(*coordinationv1.Lease).ResourceVersion != lease.ResourceVersion {
				return true, nil, apierrors.NewConflict(schema.GroupResource{Resource: "leases"}, lease.Name, errors.New("changed"))
			}
		}
		version++
		lease.ResourceVersion = fmt.Sprint(version)
		return false, nil, nil
	}
	client.PrependReactor("create", "leases", number)
	client.PrependReactor("update", "leases", number)
	return &Leases{ID: id, Client: client.CoordinationV1().Leases("ns"), Clock: clock.RealClock{}, Duration: 10 * time.Second}, client
}

func TestALeaseSaysWhomAMemberSharesWith(t *testing.T) {
	a, client := newLeases(t, "a")
	b := &Leases{ID: "b", Client: a.Client, Clock: a.Clock, Duration: a.Duration}
	for _, write := range []func() error{
		func() error { return a.Write(t.Context(), nil) },
		func() error { return b.Write(t.Context(), []string{"a", "b"}) },
		func() error { return a.Write(t.Context(), []string{"a"}) },
	} {
		if err := write(); err != nil {
			t.Fatal(err)
		}
	}
	records, err := a.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(records, func(x, y Record) int { return len(x.View) - len(y.View) })
	want := []Record{{ID: "a", View: []string{"a"}, Version: "3"}, {ID: "b", View: []string{"a", "b"}, Version: "2"}}
	if diff := cmp.Diff(want, records); diff != "" {
		t.Errorf("records (-want +got):\n%s", diff)
	}
	stored, err := client.CoordinationV1().Leases("ns").Get(t.Context(), "gitseal-member-a", metav1.GetOptions{})
	if err != nil || *stored.Spec.LeaseDurationSeconds != 10 || *stored.Spec.HolderIdentity != "a" || stored.Labels[memberLabel] == "" {
		t.Errorf("Lease %+v, %v", stored, err)
	}
}

func TestAMemberWithoutAViewClaimsNothing(t *testing.T) {
	a, _ := newLeases(t, "a")
	if err := a.Write(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	records, err := a.List(t.Context())
	if err != nil || len(records) != 1 || records[0].View != nil {
		t.Errorf("records %+v, %v, want one without a view", records, err)
	}
}

// Answers get lost: what was written all the same is found out, and whatever is
// still on its way comes too late.
func TestALostAnswerIsFoundOut(t *testing.T) {
	a, client := newLeases(t, "a")
	lost := a.describe([]string{"a", "ghost"})
	if _, err := client.CoordinationV1().Leases("ns").Create(t.Context(), lost, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := a.Write(t.Context(), []string{"a"}); err == nil {
		t.Error("Write() = nil while another version is stored, want an error")
	}
	if err := a.Write(t.Context(), []string{"a"}); err != nil {
		t.Errorf("Write() after it was found out = %v", err)
	}
	late := a.describe([]string{"a", "late"})
	late.ResourceVersion = "1"
	if _, err := client.CoordinationV1().Leases("ns").Update(t.Context(), late, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("a renewal that comes late = %v, want a conflict", err)
	}
}

func TestALeaseThatWasDeletedIsMadeAnew(t *testing.T) {
	a, _ := newLeases(t, "a")
	if err := a.Write(t.Context(), []string{"a"}); err != nil {
		t.Fatal(err)
	}
	if err := a.Delete(t.Context(), Record{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	if err := a.Write(t.Context(), []string{"a"}); !errors.Is(err, ErrGone) {
		t.Errorf("Write() = %v, want %v", err, ErrGone)
	}
	if err := a.Write(t.Context(), []string{"a"}); err != nil {
		t.Errorf("Write() = %v, want a new Lease", err)
	}
	if err := a.Delete(t.Context(), Record{ID: "nobody"}); err != nil {
		t.Errorf("Delete() of what is gone = %v", err)
	}
}

// unstreamed is a client of the fake server, which cannot list by a watch.
type unstreamed struct {
	coordinationclient.LeaseInterface
}

func (unstreamed) IsWatchListSemanticsUnSupported() bool { return true }

func TestMembersFindOneAnotherByTheirLeases(t *testing.T) {
	a, _ := newLeases(t, "a")
	a.Client = unstreamed{a.Client}
	b := &Leases{ID: "b", Client: a.Client, Clock: a.Clock, Duration: a.Duration}
	var members []*Member
	var stops []func()
	for _, store := range []*Leases{a, b} {
		m := New(Options{
			ID: store.ID, Store: store, Clock: clock.RealClock{}, Duration: 5 * time.Second, Renew: 200 * time.Millisecond, Grace: time.Second,
			Changed: func(Change) {}, Log: logr.Discard(),
		})
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { store.Watch(ctx, m) })
		running.Go(func() { _ = m.Run(ctx) })
		members, stops = append(members, m), append(stops, func() { cancel(); running.Wait() })
	}
	held := func(m *Member) int {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.granted.Len()
	}
	await(t, "both hold a share", func() bool {
		return held(members[0]) > 0 && held(members[1]) > 0 && held(members[0])+held(members[1]) == Slots
	})
	stops[0]()
	await(t, "the one that is left holds everything", func() bool { return held(members[1]) == Slots })
	stops[1]()
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !done(); <-time.After(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not after a minute: %s", what)
		}
	}
}

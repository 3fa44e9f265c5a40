// Package ha looks at several operators on one cluster from outside: how they
// share the Applications, hand them over and take them over, and that never two
// of them work on one. It must not know how they agree, but that they do by Leases.
package ha

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

var sandbox *rig.Rig

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "gitseal-ha-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if sandbox, err = rig.Start(context.Background(), dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = sandbox.Close() }()
	return m.Run()
}

// replica is an operator, and what it asked of the API server.
type replica struct {
	*rig.Operator
	name  string
	proxy *rig.Proxy
}

func start(t *testing.T, name string, args ...string) *replica {
	t.Helper()
	proxy, err := sandbox.Proxy()
	if err != nil {
		t.Fatal(err)
	}
	o, err := sandbox.StartOperatorAs(t.Context(), rig.Launch{Through: proxy, Args: args})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = o.Thaw()
		_ = o.Stop()
		proxy.Close()
		if log, err := os.ReadFile(o.LogFile); err == nil && t.Failed() {
			t.Logf("log of %s:\n%s", name, log[max(0, len(log)-4000):])
		}
	})
	return &replica{Operator: o, name: name, proxy: proxy}
}

// leaves stops a leader as Kubernetes would, and demands that it leaves no
// Lease behind whose end the others would have to wait for.
func (r *replica) leaves(t *testing.T) {
	t.Helper()
	before := holders(t)
	must(t, r.Stop())
	for lease, holder := range holders(t) {
		wrote := func(a rig.Asked) bool { return a.Writes() && strings.HasSuffix(a.Path, "/leases/"+lease) }
		if holder != "" && holder == before[lease] && r.proxy.Count(wrote) > 0 {
			t.Errorf("%s has stopped, and Lease %s is still held by %s", r.name, lease, holder)
		}
	}
}

// holders are those of the operators' Leases, by name.
func holders(t *testing.T) map[string]string {
	t.Helper()
	var all coordinationv1.LeaseList
	must(t, sandbox.Client.List(t.Context(), &all, client.InNamespace(v1alpha1.OperatorNamespace)))
	found := map[string]string{}
	for _, l := range all.Items {
		found[l.Name] = ptr.Deref(l.Spec.HolderIdentity, "")
	}
	return found
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// patience is for a machine that is slow, and busy with other packages: how
// long a replica takes is for `make bench` to say.
const patience = 5 * time.Minute

// eventually polls until check returns nil.
func eventually(t *testing.T, what string, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		last := check(ctx)
		if last == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not after %s: %v", what, patience, last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

var fleets atomic.Int64

// fleet is many Applications of one repository in one namespace.
type fleet struct {
	t    *testing.T
	ns   string
	repo *rig.Repo
	size int
}

func newFleet(t *testing.T, ns string, size int) *fleet {
	t.Helper()
	ns = fmt.Sprintf("%s-%d", ns, fleets.Add(1))
	must(t, sandbox.Namespace(t.Context(), ns))
	repo, err := sandbox.Repo(t.Context(), ns)
	must(t, err)
	return &fleet{t: t, ns: ns, repo: repo, size: size}
}

func (f *fleet) name(i int) string { return fmt.Sprintf("%s-%02d", f.ns, i) }

// push gives every Application two new objects' worth of content.
func (f *fleet) push(value string) (commit string) {
	f.t.Helper()
	files := map[string]string{}
	for i := range f.size {
		for _, part := range []string{"a", "b"} {
			files[f.name(i)+"/"+part+".yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s-%s}\ndata: {key: %q}\n", f.name(i), part, value)
		}
	}
	must(f.t, f.repo.Write(files))
	commit, err := f.repo.Push(f.t.Context(), value)
	must(f.t, err)
	return commit
}

func (f *fleet) create(interval time.Duration) {
	f.t.Helper()
	for i := range f.size {
		app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: f.name(i), Namespace: f.ns}}
		app.Spec.Source.Git.URL, app.Spec.Source.Path = f.repo.URL, f.name(i)
		app.Spec.Source.Git.Interval.Duration = interval
		app.Spec.Secrets.Policy = v1alpha1.PolicyNone
		app.Spec.Destination.ServiceAccountName = "deployer"
		app.Spec.Sync.RetryInterval.Duration = time.Second
		must(f.t, sandbox.Client.Create(f.t.Context(), app))
	}
}

// ready is how many Applications are Ready at a commit.
func (f *fleet) ready(ctx context.Context, commit string) (n int, err error) {
	var all v1alpha1.ApplicationList
	if err := sandbox.Client.List(ctx, &all, client.InNamespace(f.ns)); err != nil {
		return 0, err
	}
	for _, app := range all.Items {
		if meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady) && app.Status.Source != nil && strings.HasSuffix(app.Status.Source.Revision, commit) {
			n++
		}
	}
	return n, nil
}

// wait waits until at least n Applications are Ready at a commit.
func (f *fleet) wait(commit string, n int) {
	f.t.Helper()
	eventually(f.t, fmt.Sprintf("%d of %d Applications ready at %s", n, f.size, commit), func(ctx context.Context) error {
		got, err := f.ready(ctx, commit)
		if err == nil && got < n {
			err = fmt.Errorf("%d are ready", got)
		}
		return err
	})
}

// write is one write for an Application, by one of the replicas.
type write struct {
	rig.Asked
	by string
}

// writes lists by Application who wrote what for it, in order.
func (f *fleet) writes(replicas ...*replica) map[string][]write {
	all := map[string][]write{}
	for _, r := range replicas {
		for _, a := range r.proxy.Asked(rig.Asked.Writes) {
			for i := range f.size {
				if strings.Contains(a.Path, "/"+f.name(i)) && !strings.Contains(a.Path, "/events/") {
					all[f.name(i)] = append(all[f.name(i)], write{a, r.name})
				}
			}
		}
	}
	for _, list := range all {
		slices.SortFunc(list, func(a, b write) int { return cmp.Or(a.Begun.Compare(b.Begun), cmp.Compare(a.by, b.by)) })
	}
	return all
}

// apart is how long a replica has to have left an Application alone before it
// may come back to one that another has worked on meanwhile: it cannot have
// lost and got it in less.
const apart = time.Second

// audit fails the test where two replicas worked on one Application at once:
// where a write was begun before one of another was answered, or where they
// took turns faster than Applications can change hands.
func (f *fleet) audit(replicas ...*replica) {
	f.t.Helper()
	all := f.writes(replicas...)
	if len(all) != f.size {
		f.t.Errorf("somebody wrote for %d Applications, want %d", len(all), f.size)
	}
	hands := 0
	for name, list := range all {
		last := map[string]time.Time{}
		for i, w := range list {
			if i > 0 && list[i-1].by != w.by {
				hands++
				if before := list[i-1]; before.Ended.IsZero() || w.Begun.Before(before.Ended) {
					f.t.Errorf("%s wrote for %s at %s while %s did, from %s to %s", w.by, name, stamp(w.Begun), before.by, stamp(before.Begun), stamp(before.Ended))
				}
				if back, ok := last[w.by]; ok && w.Begun.Sub(back) < apart {
					f.t.Errorf("%s wrote for %s at %s and %s, and %s in between", w.by, name, stamp(back), stamp(w.Begun), list[i-1].by)
				}
			}
			last[w.by] = w.Begun
		}
	}
	f.t.Logf("Applications changed hands %d times", hands)
}

func stamp(t time.Time) string { return t.Format("05.000") }

package controllers

import (
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/secret"
)

// run is one reconcile of one Application.
type run struct {
	// base is the Application as the API server has it; app is a copy whose
	// status is changed.
	base *v1alpha1.Application
	app  *v1alpha1.Application

	memory *memory
	target apply.Target
	now    time.Time

	// news counts what the watches had told when the run began.
	news uint64

	// values are those opened in this run, also when it fails, so that what it
	// says can be cleaned of them.
	values *secret.Set

	// reason is why the run changes something, as history records it.
	reason  string
	changed int
	pruned  int

	// examined: it is known which objects drifted. Of those, somebody fights
	// over the contested ones.
	examined  bool
	contested []apply.Drift
	// confirmation is what waits for somebody's word.
	confirmation *v1alpha1.ConfirmationStatus
	// looked: it was seen whose the objects are.
	looked bool

	// blocked says which dependency anything new waits for. What is in place
	// does not become unready with it.
	blocked error

	// newest: the newest revision is what is wanted already, whatever becomes of
	// its values.
	newest bool
	// upheld: nothing newer can be had, and what is in place follows its values;
	// outdated is why it cannot.
	upheld   bool
	outdated *failure.Error

	// leaving are pruned objects that something keeps from going. Unserved:
	// there may be more, of a kind that the API server does not serve now.
	leaving  []apply.Member
	unserved bool
	// unsettled: something that is not wanted any more is to be seen as it is now
	// before it can be pruned.
	unsettled bool
	// crowded names the Application that may declare more of this one's objects
	// than its status lists. While there is one nothing is pruned.
	crowded string

	// progress says what is waited for, once everything is applied, or before
	// the rest is where the run is gated.
	progress string
	gated    bool
	// again is when to look again; 0 means at the next poll.
	again time.Duration
}

// begin takes stock. Nothing is written.
func (r *ApplicationReconciler) begin(app *v1alpha1.Application) *run {
	name := client.ObjectKeyFromObject(app)
	r.signals.learn(name)
	run := &run{
		base: app, app: app.DeepCopy(), memory: r.memories.of(name, app.UID), now: r.Clock.Now(),
		news: r.signals.newsOf(name),
		target: apply.Target{
			Application: name,
			Identity:    live.Identity{Namespace: app.Namespace, ServiceAccount: app.Spec.Destination.ServiceAccountName},
			Namespace:   app.Spec.Destination.Namespace,
			Ignore:      app.Spec.Sync.IgnoreDifferences,
		},
	}
	if run.target.Namespace == "" {
		run.target.Namespace = app.Namespace
	}
	if m := run.memory; m.status != nil && live.Version(app.ResourceVersion) < m.statusVersion {
		// The cache has not seen the last status that was written.
		m.status.DeepCopyInto(&run.app.Status)
		run.base = run.app.DeepCopy()
	}
	return run
}

// subject is the Application as events name it: in the newest version known. Of
// events of one version that differ in their text only, the recorder would keep
// the first, and the cache may be behind.
func (r *run) subject() *v1alpha1.Application {
	s := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{
		Namespace: r.app.Namespace, Name: r.app.Name, UID: r.app.UID, ResourceVersion: r.app.ResourceVersion,
	}}
	if v := r.memory.statusVersion; v > live.Version(r.app.ResourceVersion) {
		s.ResourceVersion = strconv.FormatUint(v, 10)
	}
	return s
}

func (r *run) timeout() time.Duration {
	if d := r.app.Spec.Sync.Timeout.Duration; d > 0 {
		return d
	}
	return defaultTimeout
}

func (r *run) suspended() bool { return suspendedAt(r.app, r.now) }

func suspendedAt(app *v1alpha1.Application, now time.Time) bool {
	s := app.Spec.Suspend
	return s != nil && (s.Until == nil || now.Before(s.Until.Time))
}

// requested reports whether somebody asked for a sync that was not done yet.
func (r *run) requested() bool {
	asked := r.app.Annotations[v1alpha1.AnnotationSyncRequestedAt]
	return asked != "" && asked != r.app.Status.LastHandledSyncAt
}

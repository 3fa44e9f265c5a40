package controllers

import (
	"context"
	"errors"
	"hash/fnv"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/policy"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
)

// Policy External: between rendering and building, the Secrets of a revision are
// made of what stores answer. The same is done again when values are due, and
// leads to a new desired state only where one of them changed. A store that
// hangs holds up no worker, and one that does not answer is not asked again by
// every run.

// Resolvers gives what answers the questions of one Application.
type Resolvers interface {
	// For returns the resolver of one run. Stores are those of its revision;
	// those in use of other revisions stay open.
	For(app *v1alpha1.Application, stores, inUse []render.Object) (external.Resolver, error)
	// Forget drops what is held for an Application that is gone, or another
	// replica's.
	Forget(application types.NamespacedName)
}

// material is what the Secrets of one revision are made of.
type material struct {
	collection external.Collection
	stores     []render.Object
	// rest is how many items come before those of the Secrets.
	rest int
	// uses are the values in use, and print is their fingerprint, as of begun;
	// zero: none were asked for yet, or a Secret that is made once is to be made
	// anew. Stale: some are older than they should be, because their store did
	// not answer.
	uses    external.Uses
	held    external.Held // of what is not read again by time
	print   string
	begun   time.Time
	stale   bool
	changes changes
	// resolving are the values that are being asked for; unanswered is why they
	// were not had last.
	resolving  *resolving
	unanswered *unanswered
}

// resolving are the values of a material, while they are being asked for.
type resolving struct {
	errand
	begun  time.Time
	cancel context.CancelFunc
	values *secret.Set
	result external.Result // once it has ended, as is err
	err    error
}

// unanswered is why a material has not got its values, when that was found, and
// for how long it is left at that.
type unanswered struct {
	err   error
	begun time.Time
	pause time.Duration
}

// refresh is a request, by annotation, to read values again that are older.
type refresh struct {
	value string
	at    time.Time // when it was seen first
	done  bool
}

// collect takes what policy External understands out of rendered objects.
func collect(objects []render.Object) (*material, error) {
	c, err := external.Collect(objects)
	if err != nil {
		return nil, err
	}
	stores := c.Stores
	for _, o := range c.Rest {
		if gvk := o.GroupVersionKind(); gvk.Group == v1alpha1.GroupVersion.Group && gvk.Kind == string(v1alpha1.KindSecretStore) {
			stores = append(stores, o)
		}
	}
	return &material{collection: c, stores: stores}, nil
}

// fill gives a draft its Secrets.
func (r *ApplicationReconciler) fill(ctx context.Context, run *run, w *wanted) error {
	mat := w.material
	if mat == nil {
		return nil
	}
	if mat.unanswered != nil && !r.due(run, mat) {
		return mat.unanswered.err
	}
	answer, err := r.ask(ctx, run, mat)
	if err != nil {
		return err
	}
	rest, err := r.Engine.Build(run.target, mat.collection.Rest)
	if err == nil {
		err = r.make(run, w, rest, answer)
	}
	if err != nil {
		return r.leave(run, mat, answer.begun, err)
	}
	mat.collection.Rest = slices.DeleteFunc(mat.collection.Rest, unreferable)
	return nil
}

// renew looks whether values of what is wanted are due, and makes another
// desired state where one of them has changed. While they are being asked for,
// and once it is known that there is no answer, what is wanted stays.
func (r *ApplicationReconciler) renew(ctx context.Context, run *run) (*wanted, error) {
	w, mat := run.memory.wanted, run.memory.wanted.material
	run.values, run.reason = w.values, w.why
	if mat == nil {
		return w, nil
	}
	known := error(nil)
	if mat.unanswered != nil {
		known = mat.unanswered.err
	}
	if !r.due(run, mat) {
		return w, known
	}
	answer, err := r.ask(ctx, run, mat)
	if errors.Is(err, errResolving) {
		return w, known
	}
	if err != nil {
		return nil, err
	}
	if !mat.begun.IsZero() && answer.result.Uses.Fingerprint() == mat.print {
		mat.take(run, answer)
		resolves.WithLabelValues(mat.outcome("Unchanged")).Inc()
		return w, nil
	}
	w, err = r.remake(run, answer)
	if err != nil {
		return nil, err
	}
	r.want(run, w)
	return w, nil
}

// remake makes a desired state of values that changed, and of everything else
// as it is.
func (r *ApplicationReconciler) remake(run *run, answer *resolving) (*wanted, error) {
	before := run.memory.wanted
	mat := before.material
	w := &wanted{
		inputs: before.inputs, basis: before.basis, author: before.author, subject: before.subject, signer: before.signer,
		material: &material{collection: mat.collection, stores: mat.stores}, settled: before.settled, runs: map[apply.ID]apply.Run{},
	}
	if err := r.make(run, w, before.items[:mat.rest], answer); err != nil {
		return nil, r.leave(run, mat, answer.begun, err)
	}
	return w, nil
}

// ask asks for the values of a material, and waits a while for the answers.
func (r *ApplicationReconciler) ask(ctx context.Context, run *run, mat *material) (*resolving, error) {
	if mat.resolving == nil {
		if err := r.beginResolving(ctx, run, mat); err != nil {
			return nil, r.leave(run, mat, run.now, err)
		}
	}
	if !r.await(ctx, &mat.resolving.errand) {
		return nil, errResolving
	}
	answer := mat.resolving
	mat.resolving = nil
	run.values = answer.values
	if answer.err != nil {
		return nil, r.leave(run, mat, answer.begun, answer.err)
	}
	return answer, nil
}

func (r *ApplicationReconciler) beginResolving(ctx context.Context, run *run, mat *material) error {
	m, spec := run.memory, run.app.Spec.Secrets.External
	var inUse []render.Object
	for _, other := range run.materials() {
		inUse = append(inUse, other.stores...)
	}
	resolver, err := r.Resolvers.For(run.app, mat.stores, inUse)
	if err != nil {
		return err
	}
	if m.refresh.pending() {
		resolver = &since{Resolver: resolver, clock: r.Clock, at: m.refresh.at}
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), run.timeout())
	asked := &resolving{begun: r.Clock.Now(), cancel: cancel, values: r.Tokenizer.NewSet()}
	derivation, target, stays := external.NewDerivation(r.Tokenizer), run.target, run.staysMade(mat)
	materializer := external.Materializer{
		Resolver: resolver, Templates: derivation, Deriver: derivation,
		Defaults: external.Defaults{Namespace: run.target.Namespace, Home: run.app.Namespace}, Values: asked.values, Now: asked.begun, Held: run.held(),
		Made: func(ctx context.Context, o render.Object) (bool, error) {
			if stays {
				return true, nil
			}
			return r.Engine.Made(ctx, target, o)
		},
	}
	if spec != nil {
		materializer.Defaults.StoreRef = spec.StoreRef
		if spec.Interval != nil {
			materializer.Defaults.Interval = spec.Interval.Duration
		}
	}
	collection := mat.collection
	mat.resolving = asked
	r.dispatch(&asked.errand, run.target.Application, func() {
		defer cancel()
		asked.result, asked.err = materializer.Materialize(ctx, collection)
	})
	return nil
}

// held are the answers in use that no store is asked for again, unless somebody
// wants all of them anew.
func (r *run) held() external.Held {
	if w := r.memory.wanted; w != nil && w.material != nil && !r.memory.refresh.pending() {
		return w.material.held
	}
	return external.Held{}
}

// make builds what is to be sent of w: the rest of it is built already, the
// Secrets are those that were made.
func (r *ApplicationReconciler) make(run *run, w *wanted, rest []apply.Item, answer *resolving) error {
	if err := policy.Check(run.app.Spec.Secrets, answer.result.Secrets, answer.values); err != nil {
		return err
	}
	items, err := r.Engine.BuildBeside(run.target, rest, answer.result.Secrets)
	if err != nil {
		return err
	}
	w.items, w.values, w.material.rest = items, answer.values, len(rest)
	w.material.take(run, answer)
	w.material.changes = run.changesTo(w.material.uses)
	resolves.WithLabelValues(w.material.outcome("Changed")).Inc()
	return nil
}

// hollow notes that the Secrets which are made once are made: where one is
// absent from now on, stores are asked for what it is to hold.
func (w *wanted) hollow() {
	if w.material == nil {
		return
	}
	made := w.items[w.material.rest:]
	for i := range made {
		made[i].Hollow = made[i].Once
	}
}

// staysMade reports whether Secrets of a material that are made once count as
// made: all were, and drift is left as it is.
func (r *run) staysMade(mat *material) bool {
	placed, drift := r.memory.placed, r.app.Spec.Sync.Drift
	return placed != nil && placed.material == mat && !mat.begun.IsZero() && (drift == v1alpha1.DriftIgnore || drift == v1alpha1.DriftReport)
}

// makeAnew has stores asked for what Secrets of w are to hold that were made
// once and are gone.
func (r *ApplicationReconciler) makeAnew(run *run, w *wanted, gone []apply.Item) {
	run.memory.ledger.Gone(gone)
	if !w.material.begun.IsZero() {
		w.material.begun = time.Time{}
		r.signals.Queue(run.target.Application)
	}
}

// unreferable reports whether no ExternalSecret can refer to an object, so that
// it is not kept for when values are due.
func unreferable(o render.Object) bool {
	gk := o.GroupVersionKind().GroupKind()
	return gk.Group != "" || gk.Kind != "Secret" && gk.Kind != "ConfigMap"
}

// take notes which values are in use.
func (mat *material) take(run *run, answer *resolving) {
	m := run.memory
	mat.uses, mat.held, mat.begun = answer.result.Uses, answer.result.Held, answer.begun
	mat.print = mat.uses.Fingerprint()
	mat.stale = len(mat.staleStores()) > 0
	mat.unanswered = nil
	if m.refresh.pending() && !mat.stale && !mat.begun.Before(m.refresh.at) {
		m.refresh.done = true
	}
}

func (mat *material) outcome(fresh string) string {
	if mat.stale {
		return "Stale"
	}
	return fresh
}

// staleStores names the stores whose last good values are kept, and why.
func (mat *material) staleStores() map[v1alpha1.StoreReference]string {
	stale := map[v1alpha1.StoreReference]string{}
	for _, u := range mat.uses.Values {
		if u.Kept != "" {
			stale[u.Store] = u.Kept
		}
	}
	for _, f := range mat.uses.Finds {
		if f.Kept != "" {
			stale[f.Store] = f.Kept
		}
	}
	return stale
}

// leave remembers why there is no answer, so that nobody is asked again before
// there can be another one. What nobody but people can mend is looked at ever
// more rarely: it may be mended where nothing tells.
func (r *ApplicationReconciler) leave(run *run, mat *material, begun time.Time, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		err = failure.Waitf(v1alpha1.ReasonStoreUnavailable, "the secret stores have not answered within spec.sync.timeout")
	}
	f := r.clean(run, failure.From(err, v1alpha1.ReasonSecretInvalid))
	pause := run.app.Spec.Sync.RetryInterval.Duration
	if u := mat.unanswered; u != nil && f.Class == failure.Stall && u.pause > 0 {
		pause = min(2*u.pause, stalledRetry)
	}
	mat.unanswered = &unanswered{err: f, begun: begun, pause: max(pause, minRetry)}
	resolves.WithLabelValues(f.Reason).Inc()
	return f
}

// due reports whether stores are to be asked for a material's values now.
func (r *ApplicationReconciler) due(run *run, mat *material) bool {
	at, ever := r.nextAsk(run, mat)
	return ever && !run.now.Before(at)
}

// nextAsk is when stores are to be asked for a material's values: the zero
// time, where somebody asked for it or a store changed since it was done last.
func (r *ApplicationReconciler) nextAsk(run *run, mat *material) (at time.Time, ever bool) {
	m, u, last := run.memory, mat.unanswered, mat.begun
	if u != nil {
		last = u.begun
	}
	wanted := r.signals.reread(run.target.Application)
	if m.refresh.pending() {
		wanted = latest(wanted, m.refresh.at)
	}
	retry := max(run.app.Spec.Sync.RetryInterval.Duration, minRetry)
	due, ever := mat.uses.Due()
	switch {
	case last.IsZero(), wanted.After(last), u != nil && run.requested():
		return time.Time{}, true
	case u != nil:
		return last.Add(u.pause), true
	case mat.stale:
		return last.Add(retry), true
	case !ever:
		return due, false
	}
	return due.Add(jitter(run.target.Application, due.Sub(last))), true
}

// maxJitter bounds how long after its time a value is read again, so that
// Applications that began together do not go on together.
const maxJitter = 5 * time.Minute

// jitter is up to a tenth of an interval, always the same for an Application.
func jitter(name types.NamespacedName, interval time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name.String()))
	return time.Duration(float64(h.Sum32()) / (1 << 32) * float64(min(max(interval, 0)/10, maxJitter)))
}

// comeBack is when to look at an Application again, whatever happens until then.
func (r *ApplicationReconciler) comeBack(run *run, after time.Duration) time.Duration {
	after = soonest(after, run.nextPoll())
	for _, mat := range run.materials() {
		if mat.resolving != nil {
			continue // its end queues the Application
		}
		at, ever := r.nextAsk(run, mat)
		if !ever {
			continue
		}
		rest := at.Sub(run.now)
		if rest <= 0 { // the run did not come so far
			rest = max(run.app.Spec.Sync.RetryInterval.Duration, minRetry)
		}
		after = soonest(after, rest)
	}
	return after
}

func (f *refresh) pending() bool { return f.value != "" && !f.done }

// noteRefresh takes note of a request to read values again.
func (r *run) noteRefresh() {
	asked := r.app.Annotations[v1alpha1.AnnotationRefreshRequestedAt]
	if m := r.memory; asked != "" && asked != r.app.Status.LastHandledRefreshAt && m.refresh.value != asked {
		m.refresh = refresh{value: asked, at: r.now, done: r.app.Spec.Secrets.Policy != v1alpha1.PolicyExternal}
	}
}

// refreshed returns the request that was carried out and not yet told of.
func (r *run) refreshed() (value string, news bool) {
	f := r.memory.refresh
	return f.value, f.done && f.value != r.app.Status.LastHandledRefreshAt
}

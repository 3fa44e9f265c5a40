package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/health"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/internal/turns"
)

// Watches is what the engine reads instead of asking the API server.
type Watches interface {
	Find(s live.Scope, key live.Key, written uint64) (live.Object, live.Presence)
	Members(s live.Scope, applySet string) map[live.Key]live.Object
	TakeFields(s live.Scope, key live.Key) string
	Await(owner string, s live.Scope, key live.Key)
}

// RESTClients gives the raw client of an identity.
type RESTClients interface {
	REST(live.Identity) (rest.Interface, error)
}

// Engine applies and prunes. It holds no state of any Application.
type Engine struct {
	clients           RESTClients
	mapper            meta.RESTMapper
	watches           Watches
	digest            func([]byte) string
	operatorNamespace string
	requests          *turns.Turns // in flight, over all Applications
	proofs            *proofs
	strangers         strangers
}

// Options configures an Engine.
type Options struct {
	Clients RESTClients
	Mapper  meta.RESTMapper
	Watches Watches
	// Digest is a keyed digest, which stays the same over a restart.
	Digest func([]byte) string
	// OperatorNamespace is never pruned, nor anything in it.
	OperatorNamespace string
	// Parallel is how many requests may be in flight. Default: 32.
	Parallel int
	// Clock says how old an experience is. Nil means the real one.
	Clock clock.PassiveClock
}

const (
	defaultParallel = 32
	// longRequest is how long the API server takes when it waits itself, for a
	// webhook or for its store.
	longRequest = 2 * time.Second
)

// NewEngine returns an engine.
func NewEngine(o Options) *Engine {
	if o.Parallel <= 0 {
		o.Parallel = defaultParallel
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	return &Engine{
		clients: o.Clients, mapper: o.Mapper, watches: o.Watches, digest: o.Digest,
		operatorNamespace: o.OperatorNamespace,
		requests:          turns.New(o.Parallel, longRequest), proofs: newProofs(o.Clock),
	}
}

// each runs do for every item in parallel and returns all errors, joined in
// the order of the items.
func (e *Engine) each(ctx context.Context, items []Item, do func(context.Context, Item) error) error {
	errs := make([]error, len(items))
	var g errgroup.Group
	for i, item := range items {
		end, ok := e.requests.Take(ctx)
		if !ok {
			errs[i] = failure.Failf(v1alpha1.ReasonApplyFailed, "apply %s: %w", item.ID, context.Cause(ctx))
			continue
		}
		g.Go(func() error {
			defer end()
			errs[i] = do(ctx, item)
			return nil
		})
	}
	_ = g.Wait()
	return errors.Join(errs...)
}

// Preflight looks for what would stop a sync half-way, before anything is
// applied. It injects values into everything that takes some, and sends as a
// dry run one item of each resource and namespace that nothing was applied to
// before, for a missing namespace or right, unless the same ServiceAccount has
// just done so for another Application. After the first sync it sends as a
// dry run whatever holds values, too: one may be immutable, or a webhook may
// be against it. In the first, that would double the calls.
func (e *Engine) Preflight(ctx context.Context, items []Item, ledger *Ledger, values *secret.Set) error {
	if err := Fits(items, values); err != nil {
		return err
	}
	var first []Item
	later := ledger.Len() > 0
	seen := map[live.Scope]bool{}
	for _, item := range items {
		proven := seen[item.Scope] || ledger.isProven(item.Scope) || e.proofs.recent(item.Scope)
		if item.Defined || item.Housed || leans(item) || proven && (!later || !item.HasTokens) {
			continue
		}
		seen[item.Scope] = true
		first = append(first, item)
	}
	return e.each(ctx, first, func(ctx context.Context, item Item) error {
		_, err := e.send(ctx, item, values, true)
		if err == nil {
			ledger.prove(item.Scope)
			e.proofs.note(item.Scope)
		}
		return err
	})
}

// leans says whether a dry run of an item proves nothing: the API server takes
// it only where another one is, which the same revision may bring, or it is not
// sent where it is there.
func leans(i Item) bool {
	return i.Once || i.Wave == WaveBindings || i.ID.GroupKind == kindPod
}

// Apply sends items, wave after wave, and records the answers. A wave with an
// error is the last. Changed counts the objects that were created or
// configured; the others were already as they should be.
func (e *Engine) Apply(ctx context.Context, items []Item, ledger *Ledger, values *secret.Set) (changed int, err error) {
	for _, wave := range byWave(items) {
		results := make(chan bool, len(wave))
		err := e.each(ctx, wave, func(ctx context.Context, item Item) error {
			did, err := e.applyOne(ctx, item, ledger, values)
			results <- did
			return err
		})
		close(results)
		for did := range results {
			if did {
				changed++
			}
		}
		if err != nil {
			return changed, err
		}
		if err := e.established(ctx, wave); err != nil {
			return changed, err
		}
	}
	return changed, nil
}

func (e *Engine) applyOne(ctx context.Context, item Item, ledger *Ledger, values *secret.Set) (changed bool, err error) {
	if item.Once {
		return e.createOnce(ctx, item, ledger, values)
	}
	before, presence := e.watches.Find(item.Scope, item.key(), 0)
	if presence == live.Present && before.Deleting && before.Digest == item.digest {
		return false, leaving(item, ledger) // it was sent before
	}
	a, err := e.take(ctx, item, ledger, values)
	if err != nil {
		if failure.From(err, v1alpha1.ReasonApplyFailed).Class != failure.Stall { // which stores nothing
			ledger.unsure(item)
		}
		e.proofs.drop(item.Scope)
		return false, err
	}
	e.proofs.note(item.Scope)
	ledger.prove(item.Scope)
	if a.object.Deleting {
		return false, leaving(item, ledger)
	}
	ledger.applied(item, a)
	return presence != live.Present || before.ResourceVersion != a.object.ResourceVersion, nil
}

// leaving says that what was sent of an item goes with the object that it was
// sent to. That it has gone is told by the object's watch.
func leaving(item Item, ledger *Ledger) error {
	ledger.unsure(item)
	return failure.Waitf(v1alpha1.ReasonApplyFailed, "%s: %s is being deleted", item.Origin, item.ID).
		WithHint("it is applied again once it is gone; if it does not go, a finalizer keeps it")
}

func byWave(items []Item) [][]Item {
	sorted := slices.Clone(items)
	slices.SortStableFunc(sorted, func(a, b Item) int { return int(a.Wave - b.Wave) })
	var waves [][]Item
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && sorted[n].Wave == sorted[0].Wave {
			n++
		}
		waves, sorted = append(waves, sorted[:n]), sorted[n:]
	}
	return waves
}

const establishTick = 100 * time.Millisecond

// established waits until the CustomResourceDefinitions of a wave are served.
// It ends with the context.
func (e *Engine) established(ctx context.Context, wave []Item) error {
	for _, item := range wave {
		if item.ID.GroupKind != kindCRD {
			continue
		}
		for {
			state, note, err := e.look(ctx, item)
			if err != nil {
				return err
			}
			if state == health.Current {
				break
			}
			if state == health.Failed {
				return failure.Failf(v1alpha1.ReasonApplyFailed, "%s: %s is not established: %s", item.Origin, item.ID, note)
			}
			select {
			case <-ctx.Done():
				return failure.Failf(v1alpha1.ReasonApplyFailed, "%s: %s is not established: %s", item.Origin, item.ID, note)
			case <-time.After(establishTick):
			}
		}
	}
	if slices.ContainsFunc(wave, func(i Item) bool { return i.ID.GroupKind == kindCRD }) {
		meta.MaybeResetRESTMapper(e.mapper)
	}
	return nil
}

// Prune deletes stale members as the watches saw them, and lets go of those
// that are somebody else's. One that was changed meanwhile may belong to
// somebody else by now: its watch will tell.
func (e *Engine) Prune(ctx context.Context, stale []Member) (pruned int, err error) {
	var errs []error
	for _, m := range stale {
		did, err := e.part(ctx, m)
		if err != nil {
			errs = append(errs, err)
		}
		if did {
			pruned++
		}
	}
	return pruned, errors.Join(errs...)
}

func (e *Engine) part(ctx context.Context, m Member) (did bool, err error) {
	if m.merged() {
		return e.letGo(ctx, m)
	}
	return e.remove(ctx, m, metav1.DeletePropagationBackground)
}

func (e *Engine) remove(ctx context.Context, m Member, dependents metav1.DeletionPropagation) (did bool, err error) {
	client, err := e.clients.REST(m.Scope.Identity)
	if err != nil {
		return false, err
	}
	as := &metav1.Preconditions{UID: &m.object.UID}
	if v := m.object.ResourceVersion; v != 0 {
		as.ResourceVersion = ptr.To(strconv.FormatUint(v, 10))
	}
	body, err := encodeDeleteOptions(&metav1.DeleteOptions{
		Preconditions: as, PropagationPolicy: &dependents,
	})
	if err != nil {
		return false, err
	}
	result := client.Delete().AbsPath(objectPath(m.Scope.Resource, m.Key.Namespace, m.Key.Name)).
		SetHeader("Accept", acceptMetadata).Body(body).Do(ctx)
	return result.Error() == nil, e.deletion(ctx, m, "prune", "delete", result.Error())
}

// Release takes members out of the ApplySet, as the watches saw them, and
// leaves them as they are. One that was changed meanwhile may belong to
// somebody else by now.
func (e *Engine) Release(ctx context.Context, members []Member) error {
	var errs []error
	for _, m := range members {
		client, err := e.clients.REST(m.Scope.Identity)
		if err != nil {
			return err
		}
		version := ""
		if v := m.object.ResourceVersion; v != 0 {
			version = fmt.Sprintf(`"resourceVersion":"%d",`, v)
		}
		unlabel := fmt.Appendf(nil, `{"metadata":{%s"uid":%q,"labels":{%q:null}}}`, version, m.object.UID, v1alpha1.ApplySetPartOfLabel)
		result := client.Patch(types.MergePatchType).AbsPath(objectPath(m.Scope.Resource, m.Key.Namespace, m.Key.Name)).
			SetHeader("Accept", acceptMetadata).Param("fieldManager", v1alpha1.FieldManager).Body(unlabel).Do(ctx)
		errs = append(errs, e.deletion(ctx, m, "release", "patch", result.Error()))
	}
	return errors.Join(errs...)
}

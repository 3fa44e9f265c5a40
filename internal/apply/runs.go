package apply

import (
	"context"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/health"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
)

var kindJob = schema.GroupKind{Group: "batch", Kind: "Job"}

// runPhase reads when an object is to run; "" is for one that is applied.
func runPhase(o render.Object) (string, error) {
	annotations := o.GetAnnotations()
	run, once := annotations[v1alpha1.AnnotationRun]
	phase, phased := annotations[v1alpha1.AnnotationRunPhase]
	_, applied := annotations[v1alpha1.AnnotationApply]
	refuse := func(why, name string) error {
		return failure.Stallf(v1alpha1.ReasonObjectInvalid, "%s: %s %q: metadata.annotations[%s] %s", o.Origin, o.GetKind(), o.GetName(), name, why)
	}
	switch {
	case !once && !phased:
		return "", nil
	case !once:
		return "", refuse("has no meaning without "+v1alpha1.AnnotationRun+": Once: add that, or remove it", v1alpha1.AnnotationRunPhase)
	case run != v1alpha1.RunOnce:
		return "", refuse("is none of: Once", v1alpha1.AnnotationRun)
	case o.GroupVersionKind().GroupKind() != kindJob:
		return "", refuse("is for what runs to an end: only a Job of batch/v1 does", v1alpha1.AnnotationRun)
	case applied:
		return "", refuse("contradicts "+v1alpha1.AnnotationApply+": remove one of the two", v1alpha1.AnnotationRun)
	case !phased, phase == v1alpha1.RunPhaseBefore:
		return v1alpha1.RunPhaseBefore, nil
	case phase == v1alpha1.RunPhaseAfter:
		return v1alpha1.RunPhaseAfter, nil
	}
	return "", refuse("is none of: Before, After", v1alpha1.AnnotationRunPhase)
}

// keepEnded takes out of a Job what would delete it once it has ended: its end
// is to be seen.
func keepEnded(job map[string]any) {
	unstructured.RemoveNestedField(job, "spec", "ttlSecondsAfterFinished")
}

// maxRuns is how many the status of an Application remembers.
const maxRuns = 64

func checkRuns(items []Item) error {
	runs := 0
	for _, i := range items {
		if i.Run == "" {
			continue
		}
		if runs++; runs > maxRuns {
			return failure.Stallf(v1alpha1.ReasonObjectInvalid, "%s: %s is one run-once object too many for an Application: %d are allowed", i.Origin, i.ID, maxRuns).
				WithHint("distribute them over several Applications")
		}
	}
	return nil
}

// RunState is how far a run-once object in the cluster has come.
type RunState int

// States of a run-once object.
const (
	RunAbsent RunState = iota
	// RunOutdated: it is there with the content of another revision.
	RunOutdated
	RunLeaving
	RunRunning
	RunSucceeded
	RunFailed
)

// Run is what the API server said of a run-once object.
type Run struct {
	State   RunState
	Note    string
	version uint64
	object  live.Object
}

// LookRun reads how far a run-once object has come. Where its watch knows
// nothing newer than what was seen last, held, that holds. One that is there
// and does not belong to the Application is a failure.
func (e *Engine) LookRun(ctx context.Context, t Target, item Item, held Run) (Run, error) {
	if held.version > 0 {
		o, presence := e.watches.Find(item.Scope, item.key(), held.version)
		if presence == live.Unknown || presence == live.Present && o.ResourceVersion <= held.version {
			return held, nil
		}
	}
	object, err := e.get(ctx, item)
	if err != nil || object == nil {
		return Run{}, err
	}
	if object.GetLabels()[v1alpha1.ApplySetPartOfLabel] != t.ApplySet() {
		return Run{}, failure.Stallf(v1alpha1.ReasonOwnedByOther, "%s: %s is there already and does not belong to this Application, so that it cannot be run", item.Origin, item.ID).
			WithHint("delete the one in the cluster, or give the one in Git another name")
	}
	r := Run{version: live.Version(object.GetResourceVersion()), object: live.Object{UID: object.GetUID()}}
	r.State, r.Note = runState(item, object)
	return r, nil
}

func runState(item Item, object *unstructured.Unstructured) (RunState, string) {
	if object.GetDeletionTimestamp() != nil {
		return RunLeaving, "it is being deleted"
	}
	if object.GetAnnotations()[v1alpha1.AnnotationDigest] != item.digest {
		return RunOutdated, "it is that of another revision"
	}
	state, note := healthOf(item, object)
	suspended, _, _ := unstructured.NestedBool(object.Object, "spec", "suspend")
	switch {
	case state == health.Failed:
		return RunFailed, note
	case state == health.Current && !suspended:
		return RunSucceeded, note
	}
	return RunRunning, note
}

// StartRun creates a run-once object that is not there. One that somebody else
// creates meanwhile is left alone.
func (e *Engine) StartRun(ctx context.Context, t Target, item Item, ledger *Ledger, values *secret.Set) (Run, error) {
	item.claim = &claim{}
	a, err := e.send(ctx, item, values, false)
	if errors.Is(err, errLost) {
		return e.overtaken(ctx, t, item)
	}
	if err != nil {
		return Run{}, err
	}
	// It is never compared with anything. The record is there so that one that
	// leaves Git at once is waited for before its place is forgotten.
	ledger.put(item.ID, record{scope: item.Scope, digest: item.digest, version: a.object.ResourceVersion, owned: a.object.Owned})
	return Run{State: RunRunning, Note: "it has not completed yet", version: a.object.ResourceVersion, object: a.object}, nil
}

// overtaken looks whose a run-once object is that was created before ours: that
// of a stranger no watch would show. Ours is read again when it changes.
func (e *Engine) overtaken(ctx context.Context, t Target, item Item) (Run, error) {
	r, err := e.LookRun(ctx, t, item, Run{})
	switch {
	case err != nil:
		return Run{}, err
	case r.State == RunAbsent:
		return Run{}, lost(item)
	}
	return Run{State: RunRunning, Note: "somebody created it meanwhile"}, nil
}

// StopRun deletes a run-once object, and all that it runs before it.
func (e *Engine) StopRun(ctx context.Context, item Item, r Run) error {
	m := Member{Scope: item.Scope, Key: item.key(), object: live.Object{UID: r.object.UID}}
	_, err := e.remove(ctx, m, metav1.DeletePropagationForeground)
	return err
}

// Fits injects values into items, and sends nothing.
func Fits(items []Item, values *secret.Set) error {
	for _, item := range items {
		if _, err := inject(item, values); err != nil {
			return err
		}
	}
	return nil
}

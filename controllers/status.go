package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/condition"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/source"
)

// reporter names the operator in events.
const reporter = "gitseal.dev/controller"

const (
	maxHistory = 10
	// maxWaiting is how many unhealthy objects a message names.
	maxWaiting = 3
	// stalledRetry bounds how soon a stalled Application is looked at again:
	// what would mend it comes as an event or with the next poll.
	stalledRetry = 10 * time.Minute
)

// announce tells that a sync has begun, where it will take more than a moment.
// It tells it once: retries of one that failed do not make Ready flap.
//
// That a new revision has begun is told however little it changes, at the cost
// of one more write for each: an operator that takes over from one that was
// killed finds everything in place, and could not tell which revision it is.
func (r *ApplicationReconciler) announce(ctx context.Context, run *run, w *wanted, objects int) error {
	moves := run.reason == v1alpha1.SyncRevision && run.rests()
	if w.announced || objects == 0 || objects == 1 && !moves {
		return nil
	}
	run.set(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonProgressing, "applying "+run.revision())
	run.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonProgressing, "applying "+run.revision())
	run.remove(v1alpha1.ConditionStalled)
	var lock []client.MergeFromOption
	if w.hasRuns() {
		// Written without, it would make what this operator has read the newest
		// there is, and let it start what another one has written down as ended.
		lock = append(lock, client.MergeFromWithOptimisticLock{})
	}
	if err := r.patchStatus(ctx, run, lock...); err != nil {
		return err
	}
	w.announced = true
	return nil
}

// rests reports whether the status names a revision that is in place, and
// nothing was under way since.
func (r *run) rests() bool {
	return r.base.Status.Source != nil && r.inPlace() && !conditionTrue(r.base, v1alpha1.ConditionReconciling)
}

// finish writes down how a run ended and says when to come back.
func (r *ApplicationReconciler) finish(ctx context.Context, run *run, err error) (ctrl.Result, error) {
	if stopping(ctx) {
		r.lastWords(ctx, run, err)
		return ctrl.Result{}, nil
	}
	ctx = context.WithoutCancel(ctx)
	if apierrors.IsConflict(err) {
		return run.conflicted(), nil
	}
	run.memory.conflictPause = 0
	var unanswered asking
	if errors.As(err, &unanswered) {
		return r.finishAsking(ctx, run, unanswered)
	}
	r.tellAdopted(run)
	drift, conflicts := run.reportDrift(), r.reportConflicts(ctx, run, err)
	if !drift && !conflicts && run.stillProgressing(err) {
		return ctrl.Result{RequeueAfter: r.comeBack(run, run.again)}, nil
	}
	result := r.conclude(ctx, run, err)
	return result, r.writeStatus(ctx, run)
}

// conclude makes a status of how a run ended.
func (r *ApplicationReconciler) conclude(ctx context.Context, run *run, err error) ctrl.Result {
	run.report()
	run.app.Status.Confirmation = run.confirmation
	if run.requested() {
		run.app.Status.LastHandledSyncAt = run.app.Annotations[v1alpha1.AnnotationSyncRequestedAt]
	}
	if value, news := run.refreshed(); news {
		run.app.Status.LastHandledRefreshAt = value
	}
	if err == nil {
		return r.succeed(run)
	}
	return r.fail(ctx, run, r.clean(run, failure.From(err, v1alpha1.ReasonApplyFailed)))
}

// lastWordsTimeout bounds what the end of the operator waits for.
const lastWordsTimeout = 3 * time.Second

// lastWords writes down what a run has done whose operator stops: the next one
// finds it done and cannot tell by whom. One that was cut short says nothing,
// for what it failed of is the end of the operator. Another operator may be at
// work already, and then knows better.
func (r *ApplicationReconciler) lastWords(ctx context.Context, run *run, err error) {
	if err != nil || run.changed+run.pruned == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWordsTimeout)
	defer cancel()
	r.conclude(ctx, run, nil)
	_ = r.patchStatus(ctx, run, client.MergeFromWithOptimisticLock{})
}

// finishAsking leaves a status as it is while a server has not answered. It is
// looked at again when it has.
func (r *ApplicationReconciler) finishAsking(ctx context.Context, run *run, why asking) (ctrl.Result, error) {
	if meta.FindStatusCondition(run.app.Status.Conditions, v1alpha1.ConditionReady) == nil {
		run.set(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonProgressing, why.Error())
		run.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonProgressing, why.Error())
		return ctrl.Result{}, r.writeStatus(ctx, run)
	}
	return ctrl.Result{}, nil
}

// tellRewritten tells, once, that history was rewritten and is followed.
func (r *ApplicationReconciler) tellRewritten(run *run, before string, s *source.Snapshot) {
	if run.memory.rewritten == s.Revision {
		return
	}
	run.memory.rewritten = s.Revision
	r.Recorder.Eventf(run.subject(), nil, corev1.EventTypeWarning, v1alpha1.ReasonHistoryRewritten, "Sync",
		"The history of %s %s was rewritten: it does not hold commit %s any more, which was applied last, and leads to %s", run.refKind(), s.Ref, before, s.Commit)
}

// stopping reports whether a run was cut short because the operator stops. That
// says nothing about the Application.
func stopping(ctx context.Context) bool {
	return errors.Is(context.Cause(ctx), context.Canceled)
}

// progressPause is how often progress that nobody waits for is written down.
const progressPause = 10 * time.Second

// stillProgressing reports whether a run found nothing but that what was
// waited for is still waited for. Who is left changes with each look; to write
// every one of them down would cost more than the sync.
func (r *run) stillProgressing(err error) bool {
	if _, refreshed := r.refreshed(); err != nil || r.progress == "" || r.changed+r.pruned > 0 || r.requested() || refreshed {
		return false
	}
	synced := meta.FindStatusCondition(r.app.Status.Conditions, v1alpha1.ConditionSynced)
	ready := meta.FindStatusCondition(r.app.Status.Conditions, v1alpha1.ConditionReady)
	return r.now.Sub(r.memory.statusAt) < progressPause &&
		synced != nil && synced.Message == r.syncedMessage() &&
		ready != nil && ready.Reason == v1alpha1.ReasonProgressing && ready.ObservedGeneration == r.app.Generation
}

const conflictRetry = 100 * time.Millisecond

// conflicted says when to try again after somebody else changed the Application
// meanwhile: soon, and later each time that this happens in a row.
func (r *run) conflicted() ctrl.Result {
	pause := min(max(2*r.memory.conflictPause, conflictRetry), max(r.app.Spec.Sync.RetryInterval.Duration, conflictRetry))
	r.memory.conflictPause = pause
	return ctrl.Result{RequeueAfter: pause}
}

func (r *ApplicationReconciler) succeed(run *run) ctrl.Result {
	observe(run, "")
	run.app.Status.ObservedGeneration = run.app.Generation
	run.remove(v1alpha1.ConditionStalled)
	if run.gated {
		run.carry(run.memory.wanted)
		run.set(v1alpha1.ConditionSynced, metav1.ConditionUnknown, v1alpha1.ReasonProgressing, run.syncedMessage())
	} else {
		run.record()
		run.set(v1alpha1.ConditionSynced, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, run.syncedMessage())
	}
	run.setSecrets(nil)
	if run.progress == "" {
		run.remove(v1alpha1.ConditionReconciling)
		run.set(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, run.readyMessage())
		run.set(v1alpha1.ConditionHealthy, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, "every object is healthy")
	} else {
		run.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, v1alpha1.ReasonProgressing, run.progress)
		run.set(v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonProgressing, run.progress)
		run.set(v1alpha1.ConditionHealthy, metav1.ConditionUnknown, v1alpha1.ReasonProgressing, run.progress)
	}
	r.tellApplied(run)
	return ctrl.Result{RequeueAfter: r.comeBack(run, run.again)}
}

func (r *ApplicationReconciler) tellApplied(run *run) {
	if run.changed+run.pruned > 0 {
		r.Recorder.Eventf(run.subject(), nil, corev1.EventTypeNormal, "Applied", "Sync",
			"Applied %s and pruned %s at %s%s", count(run.changed, "object"), count(run.pruned, "object"), run.revision(), condition.Shorten(run.newValues()))
	}
}

func (r *ApplicationReconciler) fail(ctx context.Context, run *run, f *failure.Error) ctrl.Result {
	observe(run, f.Reason)
	run.app.Status.ObservedGeneration = run.app.Generation
	message, news := run.conditions().Fail(f)
	run.setSecrets(f)
	if f.Reason == v1alpha1.ReasonUnhealthy {
		run.set(v1alpha1.ConditionHealthy, metav1.ConditionFalse, f.Reason, message)
	}
	if f.Reason == v1alpha1.ReasonUnhealthy && !run.gated {
		run.record()
		run.set(v1alpha1.ConditionSynced, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, run.syncedMessage())
	} else {
		run.set(v1alpha1.ConditionSynced, metav1.ConditionFalse, f.Reason, message)
	}
	if m := run.memory; run.upheld && m.wanted == m.placed && run.reason == v1alpha1.SyncSecret {
		run.record()
		r.tellApplied(run)
	}
	if news {
		logf.FromContext(ctx).Info("Sync did not succeed", "reason", f.Reason, "class", f.Class.String(), "why", message)
		if condition.Alarming(f) {
			r.Recorder.Eventf(run.subject(), nil, corev1.EventTypeWarning, f.Reason, "Sync", "%s", message)
		}
	}
	retry := run.app.Spec.Sync.RetryInterval.Duration
	if f.Class == failure.Stall {
		retry = stalledRetry
	}
	if run.upheld { // what is in place goes on nevertheless
		retry = soonest(run.again, retry)
	}
	return ctrl.Result{RequeueAfter: r.comeBack(run, retry)}
}

// finishDeletion writes down why an Application cannot go yet.
func (r *ApplicationReconciler) finishDeletion(ctx context.Context, run *run, err error) (ctrl.Result, error) {
	if err == nil || stopping(ctx) {
		return ctrl.Result{}, nil
	}
	if apierrors.IsConflict(err) {
		return run.conflicted(), nil
	}
	ctx = context.WithoutCancel(ctx)
	f := r.clean(run, failure.From(err, v1alpha1.ReasonPruneFailed))
	if errors.Is(err, errLeaving) {
		return r.fail(ctx, run, f), r.writeStatus(ctx, run)
	}
	f.Hint = strings.TrimPrefix(f.Hint+"; or set spec.sync.deletionPolicy to Orphan to leave the objects behind", "; ")
	return r.fail(ctx, run, f), r.writeStatus(ctx, run)
}

// maxNap is how long a suspended Application rests before the clock is read
// again. To look costs no more than that.
const maxNap = 30 * time.Second

// finishSuspended says that nothing is done, and until when.
func (r *ApplicationReconciler) finishSuspended(ctx context.Context, run *run) (ctrl.Result, error) {
	s := run.app.Spec.Suspend
	message := "suspended"
	if s.Reason != "" {
		message += ": " + s.Reason
	}
	run.app.Status.ObservedGeneration = run.app.Generation
	run.remove(v1alpha1.ConditionReconciling)
	run.remove(v1alpha1.ConditionStalled)
	run.set(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSuspended, condition.Shorten(message))
	var result ctrl.Result
	if s.Until != nil {
		// A clock that is set, and a machine that sleeps, move no timer.
		result.RequeueAfter = min(s.Until.Sub(run.now), maxNap)
	}
	return result, r.writeStatus(ctx, run)
}

// clean takes every value that was opened in a run out of a failure's text. It
// is the second line of defence: stages build their errors without values.
func (r *ApplicationReconciler) clean(run *run, f *failure.Error) *failure.Error {
	return f.Rewrite(run.redact(f.Error()), run.redact(f.Hint))
}

func (r *run) redact(text string) string {
	if r.values == nil {
		return text
	}
	return r.values.Redact(text)
}

// writeStatus patches the status if it changed, in one call.
func (r *ApplicationReconciler) writeStatus(ctx context.Context, run *run) error {
	return r.patchStatus(ctx, run)
}

func (r *ApplicationReconciler) patchStatus(ctx context.Context, run *run, options ...client.MergeFromOption) error {
	if equality.Semantic.DeepEqual(run.base.Status, run.app.Status) {
		return nil
	}
	patch, err := client.MergeFromWithOptions(statusOf(run.base), options...).Data(statusOf(run.app))
	if err != nil {
		return fmt.Errorf("write the status of Application %q: %w", run.target.Application, err)
	}
	// Of the answer only the resource version is of interest.
	answer := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: run.app.Namespace, Name: run.app.Name}}
	answer.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("Application"))
	if err := r.Client.Status().Patch(ctx, answer, client.RawPatch(types.MergePatchType, patch)); err != nil {
		if apierrors.IsNotFound(err) {
			return nil
		}
		return fmt.Errorf("write the status of Application %q: %w", run.target.Application, err)
	}
	run.app.ResourceVersion = answer.ResourceVersion
	run.base = run.app.DeepCopy()
	run.memory.status, run.memory.statusVersion = run.base.Status.DeepCopy(), live.Version(answer.ResourceVersion)
	run.memory.statusAt = run.now
	return nil
}

// statusOf leaves out what is not written with a status.
func statusOf(app *v1alpha1.Application) *v1alpha1.Application {
	return &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{ResourceVersion: app.ResourceVersion}, Status: app.Status}
}

func (r *run) nextPoll() time.Duration {
	interval := r.app.Spec.Source.Git.Interval.Duration
	if due := r.memory.polledAt.Add(interval).Sub(r.now); due > 0 && due < interval {
		return due
	}
	return interval // a poll that is due was just made, or could not be
}

func (r *run) readyMessage() string {
	if r.crowded != "" {
		return condition.Shorten("applied " + r.revision() + "; nothing is pruned while Application " + r.crowded + " may declare more of the objects here than its status lists")
	}
	if len(r.leaving) == 0 {
		return "applied " + r.revision()
	}
	return condition.Shorten("applied " + r.revision() + "; kept by finalizers, though they are not in Git any more: " + named(r.leaving))
}

func (r *run) syncedMessage() string {
	if r.gated {
		return "applying " + r.revision()
	}
	return "applied " + r.revision()
}

func (r *run) revision() string {
	if r.memory.wanted == nil {
		return "no revision"
	}
	return r.memory.wanted.inputs.commit
}

// report counts.
func (r *run) report() {
	w := r.memory.wanted
	if w == nil {
		return
	}
	s := &r.app.Status
	s.Secrets = &v1alpha1.SecretsStatus{Policy: r.app.Spec.Secrets.Policy, Files: int32(w.files), Opened: int32(w.opened)}
	if mat := w.material; mat != nil {
		s.Secrets.Resolved = int32(mat.uses.Resolved)
		s.Secrets.References, s.Secrets.MoreReferences = mat.changes.references()
	}
	s.Resources = &v1alpha1.ResourcesStatus{
		Desired: int32(len(w.items)), Applied: r.applied(w),
		Drifted: r.drifted(w), Unhealthy: int32(len(r.memory.ledger.Unhealthy())),
	}
}

// applied counts the objects of w that are in place or have run, whatever was
// changed in them since.
func (r *run) applied(w *wanted) int32 {
	n := int32(0)
	for _, item := range w.items {
		if r.memory.ledger.Holds(item.ID) && item.Run == "" || item.Run != "" && r.runState(item) == v1alpha1.RunSucceeded {
			n++
		}
	}
	return n
}

// carry leaves what a gated run changed to the one that ends the sync.
func (r *run) carry(w *wanted) { w.changed, r.changed = w.changed+r.changed, 0 }

// record writes the revision that is now in place and, where something
// changed, a line of history. Drift corrected again and again at one revision
// takes one line.
func (r *run) record() {
	s, w := &r.app.Status, r.memory.wanted
	if w == nil {
		return
	}
	if !r.unsettled {
		w.why = v1alpha1.SyncDrift // whatever it changes from now on
	}
	r.changed, w.changed = r.changed+w.changed, 0
	changed := int32(r.changed + r.pruned)
	if w.first && changed == 0 && r.rests() {
		// Nothing of what an earlier operator applied is different, so that the
		// revision it named is still the last one that touched anything. One that
		// was stopped while it applied another has changed something.
		w.inputs.commit, w.author, w.subject, w.signer = s.Source.Revision, s.Source.Author, s.Source.Subject, s.Source.Signer
	}
	w.first = false
	r.keepRuns(w)
	moved := s.Source == nil || s.Source.Revision != w.inputs.commit
	// Whoever wrote the commit may have put into its message what the files hide.
	author, subject := r.redact(w.author), r.redact(w.subject)
	s.Source = &v1alpha1.SourceStatus{Revision: w.inputs.commit, Author: author, Subject: subject, Signer: w.signer}
	if changed == 0 && !moved {
		return
	}
	entry := v1alpha1.HistoryEntry{
		Revision: w.inputs.commit, Author: author, AppliedAt: metav1.NewTime(r.now.Truncate(time.Second)),
		Changed: changed, Reason: r.reason,
	}
	if entry.Reason == "" {
		entry.Reason = v1alpha1.SyncDrift
	}
	if len(s.History) > 0 && s.History[0].Revision == entry.Revision && s.History[0].Reason == entry.Reason {
		entry.Changed += s.History[0].Changed
		s.History = s.History[1:]
	}
	s.History = slices.Insert(s.History, 0, entry)
	s.History = s.History[:min(len(s.History), maxHistory)]
}

func (r *run) conditions() condition.Writer {
	return condition.Writer{Conditions: &r.app.Status.Conditions, Generation: r.app.Generation}
}

func (r *run) set(kind string, status metav1.ConditionStatus, reason, message string) {
	r.conditions().Set(kind, status, reason, message)
}

func (r *run) remove(kind string) { r.conditions().Remove(kind) }

// secretReasons are the failures that are about secrets.
var secretReasons = []string{
	v1alpha1.ReasonKeyUnavailable, v1alpha1.ReasonDecryptionFailed, v1alpha1.ReasonPolicyViolated,
	v1alpha1.ReasonSecretInvalid, v1alpha1.ReasonSecretMissing, v1alpha1.ReasonValuesStale,
	v1alpha1.ReasonStoreMissing, v1alpha1.ReasonStoreInvalid, v1alpha1.ReasonStoreDenied, v1alpha1.ReasonStoreUnavailable,
}

// setSecrets says whether the secrets of the newest revision could be opened,
// or else those of the one in place. A failure elsewhere says nothing about them.
func (r *run) setSecrets(f *failure.Error) {
	switch w := r.memory.wanted; {
	case f != nil && slices.Contains(secretReasons, f.Reason):
		r.set(v1alpha1.ConditionSecretsReady, metav1.ConditionFalse, f.Reason, condition.Shorten(f.Message()))
	case r.outdated != nil:
		r.set(v1alpha1.ConditionSecretsReady, metav1.ConditionFalse, r.outdated.Reason, condition.Shorten(r.outdated.Message()))
	case w != nil && (f == nil || r.upheld):
		r.set(v1alpha1.ConditionSecretsReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded, r.secretsMessage(w))
	}
}

func (r *run) secretsMessage(w *wanted) string {
	policy, mat := r.app.Spec.Secrets.Policy, w.material
	if mat == nil {
		return fmt.Sprintf("opened %s of %s under policy %s", count(w.opened, "value"), count(w.files, "file"), policy)
	}
	message := fmt.Sprintf("resolved %s of %s under policy %s", count(mat.uses.Resolved, "key"), count(len(mat.collection.Manifests), "ExternalSecret"), policy)
	if stale := mat.staleStores(); len(stale) > 0 {
		message += fmt.Sprintf("; the values read last are kept: %s", keptStores(stale))
	}
	return condition.Shorten(message)
}

func conditionTrue(app *v1alpha1.Application, kind string) bool {
	return meta.IsStatusConditionTrue(app.Status.Conditions, kind)
}

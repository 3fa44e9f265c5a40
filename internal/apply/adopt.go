package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
)

// What other tools write on the objects that they own.
const (
	argoTracking = "argocd.argoproj.io/tracking-id"
	fluxPrefix   = "kustomize.toolkit.fluxcd.io/"
	fluxHelm     = "helm.toolkit.fluxcd.io/"
	helmManaged  = "app.kubernetes.io/managed-by"
	helmRelease  = "meta.helm.sh/"
	kappPrefix   = "kapp.k14s.io/"
	lastApplied  = "kubectl.kubernetes.io/last-applied-configuration"
)

// foreignManagers are the field managers of tools that apply manifests.
// Controllers that own single fields, as an autoscaler owns replicas, are none.
var foreignManagers = []string{
	"argocd-controller", "argocd-application-controller", "argocd", "kustomize-controller", "helm-controller", "flux",
	"helm", "Helm", "kapp", "kapp-server-side-apply", "kubectl-client-side-apply", "kubectl", "kubectl-last-applied",
	"before-first-apply",
}

const anotherApplySet = "another ApplySet"

// mark is what shows that another tool owns an object.
type mark struct {
	tool  string
	owner string
}

func (m mark) String() string {
	if m.owner == "" {
		return m.tool
	}
	return fmt.Sprintf("%s (%s)", m.tool, m.owner)
}

func (m mark) refusal(item Item) error {
	return failure.Stallf(v1alpha1.ReasonOwnedByOther, "%s: %s is there already and belongs to %s", item.Origin, item.ID, m).
		WithHint("once %s has let go of it, set spec.sync.adopt to true to take it over; or remove it from Git", m.tool)
}

// marksOf lists the tools that own an object, the one to talk to first.
func marksOf(m *metav1.PartialObjectMetadata, o live.Object) []mark {
	var marks []mark
	add := func(ok bool, tool, owner string) {
		if ok {
			marks = append(marks, mark{tool, owner})
		}
	}
	labels, annotations := m.Labels, m.Annotations
	add(labels[fluxHelm+"name"] != "", "Flux", named("HelmRelease", labels[fluxHelm+"namespace"], labels[fluxHelm+"name"]))
	add(labels[fluxPrefix+"name"] != "", "Flux", named("Kustomization", labels[fluxPrefix+"namespace"], labels[fluxPrefix+"name"]))
	app, _, _ := strings.Cut(annotations[argoTracking], ":")
	add(annotations[argoTracking] != "", "Argo CD", named("Application", "", app))
	add(labels[kappPrefix+"app"] != "", "kapp", named("app", "", labels[kappPrefix+"app"]))
	add(labels[helmManaged] == "Helm" && annotations[helmRelease+"release-name"] != "", "Helm",
		named("release", annotations[helmRelease+"release-namespace"], annotations[helmRelease+"release-name"]))
	if owner := metav1.GetControllerOfNoCopy(m); owner != nil {
		add(true, "the controller of "+owner.Kind, named(owner.Kind, "", owner.Name))
	}
	// An ApplySet of an Application of ours that is gone shows our field manager.
	add(o.ApplySet != "" && o.Owned == 0, anotherApplySet, bounded(o.ApplySet))
	return marks
}

func named(kind, namespace, name string) string {
	if namespace != "" {
		name = namespace + "/" + name
	}
	return fmt.Sprintf("%s %q", kind, bounded(name))
}

const maxOwner = 100

// bounded keeps a name from filling a message; an annotation may be long.
func bounded(s string) string {
	if len(s) <= maxOwner {
		return s
	}
	return strings.ToValidUTF8(s[:maxOwner], "") + "…"
}

// markKeys are the labels or annotations by which other tools own an object.
func markKeys(all map[string]string, helm bool) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(key string) bool {
		switch {
		case key == argoTracking, key == lastApplied, strings.HasPrefix(key, fluxPrefix), strings.HasPrefix(key, fluxHelm), strings.HasPrefix(key, kappPrefix):
			return false
		}
		return !helm || key != helmManaged && !strings.HasPrefix(key, helmRelease)
	})
}

// adoption is one write that takes an object away from other tools: it removes
// their marks and what their field managers own, and makes it a member.
type adoption struct {
	from  []mark
	patch map[string]any
}

// adoptionOf returns what must be cleared away before an object can be applied;
// nil where that is nothing. What the other tool set and Git does not mention
// stays as it is and belongs to nobody: to remove it could restart pods, or
// take its replicas from an autoscaler.
func adoptionOf(m *metav1.PartialObjectMetadata, o live.Object, own, version string) *adoption {
	a := &adoption{from: marksOf(m, o)}
	kept := slices.DeleteFunc(slices.Clone(m.ManagedFields), func(e metav1.ManagedFieldsEntry) bool {
		return e.Subresource == "" && slices.Contains(foreignManagers, e.Manager)
	})
	if len(a.from) == 0 && len(kept) == len(m.ManagedFields) {
		return nil
	}
	helm := m.Labels[helmManaged] == "Helm"
	labels, annotations := map[string]any{v1alpha1.ApplySetPartOfLabel: own}, map[string]any{}
	for _, key := range markKeys(m.Labels, helm) {
		labels[key] = nil
	}
	for _, key := range markKeys(m.Annotations, helm) {
		annotations[key] = nil
	}
	a.patch = map[string]any{
		"uid": m.UID, "resourceVersion": m.ResourceVersion,
		"labels": labels, "annotations": annotations, "managedFields": withMember(kept, version),
	}
	if metav1.GetControllerOfNoCopy(m) != nil {
		a.patch["ownerReferences"] = slices.DeleteFunc(slices.Clone(m.OwnerReferences), func(r metav1.OwnerReference) bool {
			return r.Controller != nil && *r.Controller
		})
	}
	return a
}

// withMember adds our ownership of the ApplySet's label to managed fields,
// which must not be empty: the API server would then give all fields to a
// manager of its own, and none of them would ever go.
func withMember(kept []metav1.ManagedFieldsEntry, version string) []metav1.ManagedFieldsEntry {
	if slices.ContainsFunc(kept, func(e metav1.ManagedFieldsEntry) bool {
		return e.Manager == v1alpha1.FieldManager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
	}) {
		return kept
	}
	fields := fmt.Sprintf(`{"f:metadata":{"f:labels":{"f:%s":{}}}}`, v1alpha1.ApplySetPartOfLabel)
	return append(kept, metav1.ManagedFieldsEntry{
		Manager: v1alpha1.FieldManager, Operation: metav1.ManagedFieldsOperationApply, APIVersion: version,
		FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(fields),
	})
}

// adopt carries out the adoption that an item's claim says. After it the
// object is ours, whatever happens next.
func (e *Engine) adopt(ctx context.Context, item *Item, ledger *Ledger) error {
	client, err := e.clients.REST(item.Scope.Identity)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"metadata": item.claim.adopt.patch})
	if err != nil {
		return fmt.Errorf("write the adoption of %s: %w", item.ID, err)
	}
	err = client.Patch(types.MergePatchType).AbsPath(item.path).SetHeader("Accept", acceptMetadata).
		Param("fieldManager", v1alpha1.FieldManager).Body(body).Do(ctx).Error()
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return errLost
	}
	if err != nil {
		return e.refusal(ctx, *item, "patch", err)
	}
	ledger.takenOver(item.ID, item.claim.adopt.from)
	item.claim = nil
	return nil
}

// takenOver remembers that an object was adopted, to tell of it.
func (l *Ledger) takenOver(id ID, from []mark) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(from) > 0 {
		l.adopted = append(l.adopted, fmt.Sprintf("%s from %s", id, from[0]))
	}
}

// Adopted tells, once and as one line, of the objects that were taken over
// from other tools; it is empty where there is none.
func (l *Ledger) Adopted() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.adopted
	l.adopted = nil
	slices.Sort(all)
	switch len(all) {
	case 0:
		return ""
	case 1:
		return all[0]
	}
	return fmt.Sprintf("%s, and %d more objects", all[0], len(all)-1)
}

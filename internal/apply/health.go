package apply

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/health"
	"github.com/gitseal/gitseal/internal/live"
)

// Unjudged lists the items whose status has changed since their health was
// read last, as the watches saw it.
func (e *Engine) Unjudged(items []Item, ledger *Ledger) []Item {
	var changed []Item
	for _, item := range items {
		r, ok := ledger.get(item.ID)
		if !ok || !item.HasStatus || item.Run != "" {
			continue
		}
		o, presence := e.watches.Find(item.Scope, item.key(), r.judged)
		if presence == live.Present && o.ResourceVersion > r.judged {
			changed = append(changed, item)
		}
	}
	return changed
}

// Judge reads the health of items: one get for a single object of a resource
// and namespace, one list for several.
func (e *Engine) Judge(ctx context.Context, t Target, items []Item, ledger *Ledger) error {
	byScope := map[live.Scope][]Item{}
	for _, item := range items {
		byScope[item.Scope] = append(byScope[item.Scope], item)
	}
	for _, s := range Scopes(items) {
		if err := e.judgeScope(ctx, t, s, byScope[s], ledger); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) judgeScope(ctx context.Context, t Target, s live.Scope, items []Item, ledger *Ledger) error {
	if len(items) == 1 {
		object, err := e.get(ctx, items[0])
		if err != nil || object == nil {
			return err
		}
		judge(items[0], object, ledger)
		return nil
	}
	objects, err := e.list(ctx, t, s, items[0])
	if err != nil {
		return err
	}
	for _, item := range items {
		if object := objects[item.key()]; object != nil {
			judge(item, object, ledger)
		}
	}
	return nil
}

func judge(item Item, object *unstructured.Unstructured, ledger *Ledger) {
	r, ok := ledger.get(item.ID)
	if !ok {
		return
	}
	r.state, r.note = healthOf(item, object)
	r.judged = live.Version(object.GetResourceVersion())
	ledger.put(item.ID, r)
}

// healthOf reads an object's health. Of one that holds values it says no more
// than that: another controller's reason may quote them.
func healthOf(item Item, object *unstructured.Unstructured) (health.State, string) {
	state, note := health.Of(object)
	if item.HasTokens && state != health.Current {
		note = "its status says so"
	}
	return state, note
}

// look reads the health of one object now.
func (e *Engine) look(ctx context.Context, item Item) (health.State, string, error) {
	object, err := e.get(ctx, item)
	if err != nil {
		return health.Failed, "", err
	}
	if object == nil {
		return health.InProgress, "it is gone", nil
	}
	state, note := health.Of(object)
	return state, note, nil
}

// get reads one object; nil if it is gone.
func (e *Engine) get(ctx context.Context, item Item) (*unstructured.Unstructured, error) {
	client, err := e.clients.REST(item.Scope.Identity)
	if err != nil {
		return nil, err
	}
	result := client.Get().AbsPath(item.path).Do(ctx)
	if err := result.Error(); err != nil {
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, e.refusal(ctx, item, "get", err)
	}
	raw, err := result.Raw()
	if err != nil {
		return nil, e.refusal(ctx, item, "get", err)
	}
	object := &unstructured.Unstructured{}
	if object.UnmarshalJSON(raw) != nil { // whose text may quote the answer
		return nil, fmt.Errorf("read %s: the API server's answer is no object", item.ID)
	}
	return object, nil
}

func (e *Engine) list(ctx context.Context, t Target, s live.Scope, sample Item) (map[live.Key]*unstructured.Unstructured, error) {
	client, err := e.clients.REST(s.Identity)
	if err != nil {
		return nil, err
	}
	result := client.Get().AbsPath(resourcePath(s.Resource, s.Namespace)).
		Param("labelSelector", v1alpha1.ApplySetPartOfLabel+"="+t.ApplySet()).Do(ctx)
	if err := result.Error(); err != nil {
		return nil, e.refusal(ctx, sample, "list", err)
	}
	raw, err := result.Raw()
	if err != nil {
		return nil, e.refusal(ctx, sample, "list", err)
	}
	list := &unstructured.UnstructuredList{}
	if list.UnmarshalJSON(raw) != nil { // whose text may quote the answer
		return nil, fmt.Errorf("read the list of %s: the API server's answer is no list", s)
	}
	objects := make(map[live.Key]*unstructured.Unstructured, len(list.Items))
	for i := range list.Items {
		o := &list.Items[i]
		objects[live.Key{Namespace: o.GetNamespace(), Name: o.GetName()}] = o
	}
	return objects, nil
}

func encodeDeleteOptions(o *metav1.DeleteOptions) ([]byte, error) {
	o.APIVersion, o.Kind = "v1", "DeleteOptions"
	return json.Marshal(o)
}

// deletion turns the API server's answer to a delete or a release into what it
// means. An object that is gone needs neither; one that was changed meanwhile
// (a conflict) is looked at again when its watch tells of the change.
func (e *Engine) deletion(ctx context.Context, m Member, what, verb string, err error) error {
	switch {
	case err == nil, apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return nil
	case apierrors.IsForbidden(err):
		if denied := e.forbidden(ctx, m.Scope, verb); denied != nil {
			return denied
		}
	}
	status, ok := apiStatus(err)
	if !ok {
		return failure.Failf(v1alpha1.ReasonPruneFailed, "%s %s: the API server could not be reached", what, m)
	}
	return failure.Failf(v1alpha1.ReasonPruneFailed, "%s %s: the API server refused (%s)", what, m, ownReason(status))
}

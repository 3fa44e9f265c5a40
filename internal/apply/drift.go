package apply

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/secret"
)

// Drift is how a live object differs from what Git says. It holds no value.
type Drift struct {
	ID ID
	// Fields that differ, as paths; empty where the object is gone.
	Fields []string
	// Manager that wrote them last, where one is known.
	Manager string
	// Deleted: the object is gone, or no longer a member of the ApplySet.
	Deleted bool
	// Contested: it was put back, and changed back, again and again.
	Contested bool
}

// MaxDriftFields is how many fields of one object a Drift names.
const MaxDriftFields = 10

// Findings are what became of items that seemed to have drifted.
type Findings struct {
	// Drifted items differ from what Git says.
	Drifted []Item
	Drifts  []Drift
	// Gone are hollow: nothing is known to put them back of.
	Gone []Item
	// Lost items do not, but somebody else owns fields of them by now, so that
	// a change of those would go unnoticed until they are applied again.
	Lost []Item
}

// Examine decides by one dry run per item whether the live object is what
// applying the item makes of it. One that is counts as applied from then on.
// An error about one item says nothing of the others; it counts as an attempt
// to put the item back, so that the next one waits.
func (e *Engine) Examine(ctx context.Context, items []Item, ledger *Ledger, values *secret.Set, now time.Time) (Findings, error) {
	var (
		mu     sync.Mutex
		found  Findings
		failed []Item
	)
	err := e.each(ctx, items, func(ctx context.Context, item Item) error {
		drift, lost, err := e.examine(ctx, item, ledger, values)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case err != nil:
			failed = append(failed, item)
		case drift != nil && item.Hollow:
			found.Gone, found.Drifts = append(found.Gone, item), append(found.Drifts, *drift)
		case drift != nil:
			found.Drifted, found.Drifts = append(found.Drifted, item), append(found.Drifts, *drift)
		case lost:
			found.Lost = append(found.Lost, item)
		}
		return err
	})
	ledger.Correcting(failed, now)
	slices.SortFunc(found.Drifts, func(a, b Drift) int { return compareIDs(a.ID, b.ID) })
	return found, err
}

// maxRaces is how often an object is looked at again because it changed
// between the two looks that one decision takes.
const maxRaces = 3

func (e *Engine) examine(ctx context.Context, item Item, ledger *Ledger, values *secret.Set) (drift *Drift, lost bool, err error) {
	if there, err := e.there(ctx, item, ledger); err != nil || there {
		return nil, false, err
	}
	for race := 0; ; race++ {
		have, err := e.get(ctx, item)
		if err != nil {
			return nil, false, err
		}
		if have == nil && item.Awaited {
			return nil, false, item.missing()
		}
		if have == nil {
			drift = &Drift{ID: item.ID, Deleted: true}
			ledger.found(item, 0, drift)
			return drift, false, nil
		}
		want, err := e.try(ctx, item, have, values)
		again := errors.Is(err, errChanged) || err == nil && want.GetResourceVersion() != have.GetResourceVersion()
		if again && race < maxRaces {
			continue
		}
		if err != nil {
			return nil, false, err
		}
		return e.judgeDrift(item, have, want, ledger)
	}
}

func (e *Engine) judgeDrift(item Item, have, want *unstructured.Unstructured, ledger *Ledger) (drift *Drift, lost bool, err error) {
	seen, err := describe(have)
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", item.ID, err)
	}
	places := differences(item, have.Object, want.Object)
	switch {
	case len(places) > 0:
		drift = &Drift{ID: item.ID, Manager: managerOf(have.GetManagedFields(), places), Deleted: seen.ApplySet == ""}
		for _, p := range places[:min(len(places), MaxDriftFields)] {
			drift.Fields = append(drift.Fields, p.String())
		}
		ledger.found(item, seen.ResourceVersion, drift)
	case !bytes.Equal(ownFields(have), ownFields(want)):
		lost = true
	default:
		ledger.adopt(item, seen)
	}
	return drift, lost, nil
}

// try applies an item as a dry run and returns the whole object.
func (e *Engine) try(ctx context.Context, item Item, have *unstructured.Unstructured, values *secret.Set) (*unstructured.Unstructured, error) {
	raw, err := e.patch(ctx, item, have, values, true, acceptObject)
	if err != nil {
		return nil, err
	}
	object := &unstructured.Unstructured{}
	if object.UnmarshalJSON(raw) != nil {
		return nil, fmt.Errorf("read the API server's answer about %s: it is no object", item.ID)
	}
	return object, nil
}

// describe is what a watch would keep of an object.
func describe(o *unstructured.Unstructured) (live.Object, error) {
	raw, err := json.Marshal(o.Object["metadata"])
	if err != nil {
		return live.Object{}, err
	}
	var m metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &m.ObjectMeta); err != nil {
		return live.Object{}, err
	}
	return live.Describe(&m), nil
}

func isOwn(e metav1.ManagedFieldsEntry) bool {
	return e.Manager == v1alpha1.FieldManager && e.Operation == metav1.ManagedFieldsOperationApply && e.Subresource == ""
}

// ownFields are the fields that we own of an object.
func ownFields(o *unstructured.Unstructured) []byte {
	for _, e := range o.GetManagedFields() {
		if isOwn(e) && e.FieldsV1 != nil {
			return e.FieldsV1.GetRawBytes()
		}
	}
	return nil
}

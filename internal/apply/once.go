package apply

import (
	"context"
	"errors"
	"fmt"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
)

// appliedOnce says whether an object is created where it is absent and left
// alone from then on.
func appliedOnce(o render.Object) (bool, error) {
	switch v := o.GetAnnotations()[v1alpha1.AnnotationApply]; v {
	case "":
		return false, nil
	case v1alpha1.ApplyOnce:
		return true, nil
	case v1alpha1.ApplyMerge:
		return false, nil
	default:
		return false, failure.Stallf(v1alpha1.ReasonObjectInvalid, "%s: %s %q: annotation %s is %q", o.Origin, o.GetKind(), o.GetName(), v1alpha1.AnnotationApply, v).
			WithHint("the values are %s and %s", v1alpha1.ApplyOnce, v1alpha1.ApplyMerge)
	}
}

// ErrHollow says that an object which was to stay as it is has gone.
var ErrHollow = errors.New("it was deleted meanwhile")

// Made tells whether an object is in the cluster, whoever made it.
func (e *Engine) Made(ctx context.Context, t Target, o render.Object) (bool, error) {
	items, err := e.Build(t, []render.Object{o})
	if err != nil {
		return false, err
	}
	if _, presence := e.watches.Find(items[0].Scope, items[0].key(), 0); presence == live.Present {
		return true, nil
	}
	m, err := e.getMetadata(ctx, items[0])
	return m != nil, err
}

// stays says whether an item that is applied once needs nothing: it is there,
// whatever it holds by now.
func (e *Engine) stays(item Item, ledger *Ledger) bool {
	if !item.Once {
		return false
	}
	if o, presence := e.watches.Find(item.Scope, item.key(), 0); presence == live.Present {
		ledger.left(item, o)
		return true
	}
	r, known := ledger.get(item.ID)
	return known && r.foreign && r.digest == item.digest
}

// there looks whether an item that is applied once is there already. The watch
// does not show what is no member of an ApplySet.
func (e *Engine) there(ctx context.Context, item Item, ledger *Ledger) (bool, error) {
	if !item.Once {
		return false, nil
	}
	have, err := e.get(ctx, item)
	if err != nil || have == nil {
		return false, err
	}
	seen, err := describe(have)
	if err != nil {
		return false, fmt.Errorf("read %s: %w", item.ID, err)
	}
	ledger.left(item, seen)
	return true, nil
}

// createOnce creates an item that is applied once, unless it is there. The API
// server sees to it that what somebody else creates meanwhile is left alone.
func (e *Engine) createOnce(ctx context.Context, item Item, ledger *Ledger, values *secret.Set) (created bool, err error) {
	item.claim = &claim{}
	for range maxTakes {
		if there, err := e.there(ctx, item, ledger); err != nil || there {
			return false, err
		}
		if item.Hollow {
			return false, failure.Waitf(v1alpha1.ReasonApplyFailed, "%s: %s: %w", item.Origin, item.ID, ErrHollow)
		}
		a, err := e.send(ctx, item, values, false)
		if errors.Is(err, errLost) {
			continue
		}
		if err != nil {
			return false, err
		}
		ledger.applied(item, a)
		return true, nil
	}
	return false, lost(item)
}

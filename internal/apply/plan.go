package apply

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/live"
)

// Plan is what has to be sent.
type Plan struct {
	// Changed items were never applied, or were applied with another content.
	Changed []Item
	// Drifted items are as they were applied last, but the cluster may not be:
	// to examine them tells.
	Drifted []Item
	// Anew items were hollow and are gone. What they are put back of is known by
	// now, and may be something else.
	Anew []Item
	// Reported items drifted, and have not changed since that was found.
	Reported []Item
	// Contested objects drifted, too, but somebody changes them back each time;
	// the first is to be put back again after Again.
	Contested []Drift
	Again     time.Duration
	// Failing: the last try to put one of them back was refused.
	Failing bool
}

// Empty reports whether there is nothing to send.
func (p Plan) Empty() bool { return len(p.Changed)+len(p.Drifted) == 0 }

// Compare decides what has to be sent, from memory alone.
func (e *Engine) Compare(items []Item, ledger *Ledger, now time.Time) Plan {
	var p Plan
	for _, item := range items {
		if item.Run != "" {
			continue // status remembers it, and it is never put back
		}
		if e.stays(item, ledger) {
			continue
		}
		r, known := ledger.get(item.ID)
		if r.gone && item.Once && !item.Hollow {
			p.Anew = append(p.Anew, item)
			continue
		}
		if !known || r.digest != item.digest && !item.Hollow {
			p.Changed = append(p.Changed, item)
			continue
		}
		switch state := e.standing(item, &r); {
		case state == asApplied && now.Sub(r.corrected) > 2*maxBrake:
			r.corrections = 0
		case state == asApplied:
		case r.brake(now) > 0:
			p.contest(r, item.ID, now)
		case state == reported:
			p.Reported = append(p.Reported, item)
		default:
			p.Drifted = append(p.Drifted, item)
		}
		ledger.put(item.ID, r)
	}
	return p
}

func (p *Plan) contest(r record, id ID, now time.Time) {
	d := Drift{ID: id}
	if known := cmp.Or(r.drift, r.fought); known != nil {
		d = *known
	}
	d.Contested = true
	p.Contested = append(p.Contested, d)
	p.Failing = p.Failing || r.failing
	if rest := r.brake(now); p.Again == 0 || rest < p.Again {
		p.Again = rest
	}
}

// Seed learns, where nothing is known of items, which of them are in place: a
// live object that carries an item's digest was applied with just that content,
// and as long as we own all of it nobody has changed it since. One of which we
// do not own all has drifted. One that is being deleted is not in place. InPlace says that all items were applied, so that
// whatever is not as they say has drifted.
func (e *Engine) Seed(items []Item, ledger *Ledger, inPlace bool) {
	for _, item := range items {
		if _, known := ledger.get(item.ID); known || item.Run != "" {
			continue
		}
		o, presence := e.watches.Find(item.Scope, item.key(), 0)
		fields := e.watches.TakeFields(item.Scope, item.key())
		applied := presence == live.Present && !o.Deleting && o.Digest == item.digest
		r := record{scope: item.Scope, digest: item.digest}
		switch {
		case applied && ownsAll(fields, o.Scaled, item):
			r.version, r.owned = o.ResourceVersion, o.Owned
		case applied && o.Owned != 0, inPlace && presence != live.Unknown:
			r.owned = ^o.Owned
		default:
			continue
		}
		ledger.put(item.ID, r)
	}
}

// Carried reports whether every object that is there carries the digest of its
// item: what was applied last says the same of it.
func (e *Engine) Carried(items []Item) bool {
	for _, item := range items {
		if item.Run != "" || item.Once {
			continue
		}
		if o, presence := e.watches.Find(item.Scope, item.key(), 0); presence == live.Present && o.Digest != item.digest {
			return false
		}
	}
	return true
}

// Settle forgets the objects that items no longer hold. It reports false while
// one of them was applied so recently that its watch, one of scopes, does not
// show it yet. There is nothing to wait for where nothing is watched any more, nor
// of what is none of ours.
func (e *Engine) Settle(scopes []live.Scope, items []Item, ledger *Ledger) bool {
	settled := true
	ledger.keep(items, func(r record, id ID) live.Presence {
		at := slices.IndexFunc(scopes, func(s live.Scope) bool {
			return s.Namespace == r.scope.Namespace && s.Resource.GroupResource() == r.scope.Resource.GroupResource()
		})
		if at < 0 || r.foreign {
			return live.Absent
		}
		_, presence := e.watches.Find(scopes[at], live.Key{Namespace: id.Namespace, Name: id.Name}, r.version)
		settled = settled && presence != live.Unknown
		return presence
	})
	return settled
}

// condition is what memory and the watches tell of an object.
type condition int

const (
	asApplied condition = iota
	suspect             // somebody changed what we own
	reported            // it was found to differ, and has not changed since
)

func (e *Engine) standing(item Item, r *record) condition {
	o, presence := e.watches.Find(item.Scope, item.key(), r.version)
	switch {
	case presence == live.Absent && r.drift != nil && r.drift.Deleted:
		return reported
	case presence == live.Absent:
		return suspect
	case presence == live.Unknown, o.Deleting:
		// It is about to come, or to go: either is told by the next event.
		return asApplied
	case o.ResourceVersion == r.version:
		r.owned, r.drift = o.Owned, nil
		return asApplied
	case r.drift != nil && o.ResourceVersion <= r.examined:
		return reported
	case o.Owned == r.owned && r.drift == nil:
		return asApplied
	}
	return suspect
}

// Stale lists the members of the ApplySet that items do not hold, that carry
// our field manager and that no guard keeps: those that may be pruned, in the
// order to prune them, which is that of sync waves and kinds turned round.
// Leaving are those that were deleted and are kept by a finalizer.
func (e *Engine) Stale(t Target, scopes []live.Scope, items []Item) (stale, leaving []Member) {
	for _, m := range e.Leftovers(t, scopes, items) {
		switch {
		case m.object.Deleting:
			leaving = append(leaving, m)
		case m.object.Owned != 0 && !e.guarded(m):
			stale = append(stale, m)
		}
	}
	slices.SortFunc(leaving, func(a, b Member) int { return cmp.Compare(a.String(), b.String()) })
	slices.SortFunc(stale, func(a, b Member) int {
		return cmp.Or(cmp.Compare(waveOfMember(b.object.Wave), waveOfMember(a.object.Wave)),
			cmp.Compare(b.wave(), a.wave()), cmp.Compare(a.String(), b.String()))
	})
	return stale, leaving
}

// Leftovers lists the members of the ApplySet that items do not hold. Members
// are told apart by resource, whatever version a watch or a file names.
func (e *Engine) Leftovers(t Target, scopes []live.Scope, items []Item) []Member {
	type name struct {
		schema.GroupResource
		live.Key
	}
	wanted := make(map[name]bool, len(items))
	for _, i := range items {
		wanted[name{i.Scope.Resource.GroupResource(), i.key()}] = true
	}
	var left []Member
	for _, s := range scopes {
		for key, o := range e.watches.Members(s, t.ApplySet()) {
			if !wanted[name{s.Resource.GroupResource(), key}] {
				left = append(left, Member{Scope: s, Key: key, object: o})
			}
		}
	}
	return left
}

// Member is an object in the cluster that belongs to the ApplySet.
type Member struct {
	Scope  live.Scope
	Key    live.Key
	object live.Object
}

func (m Member) String() string {
	if m.Key.Namespace == "" {
		return fmt.Sprintf("%s %q", m.Scope.Resource.GroupResource(), m.Key.Name)
	}
	return fmt.Sprintf("%s %q in namespace %q", m.Scope.Resource.GroupResource(), m.Key.Name, m.Key.Namespace)
}

// wave is when an object of the member's resource is applied.
func (m Member) wave() Wave {
	switch gr := m.Scope.Resource.GroupResource(); {
	case gr.String() == "namespaces", gr.String() == "customresourcedefinitions.apiextensions.k8s.io":
		return WaveDefinitions
	case gr.Group == groupRBAC && strings.HasSuffix(gr.Resource, "bindings"):
		return WaveBindings
	case gr.Group == groupRBAC, gr.String() == "serviceaccounts":
		return WaveIdentity
	case gr.String() == "secrets", gr.String() == "configmaps":
		return WaveConfig
	}
	return WaveRest
}

// guarded says whether a member must be kept: what takes data with it goes
// only when its annotation says so, and the operator's own namespace never.
func (e *Engine) guarded(m Member) bool {
	gr := m.Scope.Resource.GroupResource()
	if m.Key.Namespace == e.operatorNamespace || (gr.Group == "" && gr.Resource == "namespaces" && m.Key.Name == e.operatorNamespace) {
		return true
	}
	switch gr.String() {
	case "namespaces", "persistentvolumeclaims", "customresourcedefinitions.apiextensions.k8s.io":
		return m.object.Prune != v1alpha1.PruneEnabled
	}
	return m.object.Prune == v1alpha1.PruneDisabled
}

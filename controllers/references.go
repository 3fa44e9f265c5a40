package controllers

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/internal/secret"
)

// maxReferences is how many a status lists, as long as their texts take no more
// than maxReferenceBytes: a status has to fit into etcd.
const (
	maxReferences     = 512
	maxReferenceBytes = 64 << 10
)

// place is one value of a store.
type place struct {
	store   v1alpha1.StoreReference
	key     string
	version string
}

// changes say since when each value is as it is, what is taken of it, and how many
// of each store changed when the material was made.
type changes struct {
	at   map[place]time.Time
	take map[place][]string
	news map[v1alpha1.StoreReference]int
}

func placeOf(u external.Use) place { return place{u.Store, u.Ref.Key, u.Version} }

// changesTo compares values with those that were in use before. After a restart
// only their versions are known, from the status.
func (r *run) changesTo(uses external.Uses) changes {
	c := changes{at: map[place]time.Time{}, take: map[place][]string{}, news: map[v1alpha1.StoreReference]int{}}
	before, tokens := r.valuesBefore()
	changed := map[place]bool{}
	for _, u := range uses.Values {
		p := placeOf(u)
		if u.Token == "" {
			continue
		}
		c.taken(p, u)
		if changed[p] {
			continue
		}
		at, known := before[p]
		if held := tokens[p]; !known || held != nil && !held[u.Token] {
			at, changed[p] = r.now.Truncate(time.Second), true
			c.news[u.Store]++
		}
		c.at[p] = at
	}
	return c
}

// valuesChanged reports whether w has other values than what was wanted before.
// After a restart the status tells, where it lists them all.
func (r *run) valuesChanged(w *wanted) bool {
	if w.material == nil {
		return false
	}
	if before := r.memory.wanted; before != nil {
		return before.material != nil && before.material.print != w.material.print
	}
	s := r.app.Status.Secrets
	return s != nil && len(s.References) > 0 && s.MoreReferences == 0 && len(w.material.changes.news) > 0
}

// taken notes what a use takes of a value, or of what describes it.
func (c changes) taken(p place, u external.Use) {
	properties := slices.Clone(u.Properties)
	if u.Ref.Metadata {
		for i, name := range properties {
			properties[i] = "metadata " + name
		}
		if len(properties) == 0 {
			properties = []string{"metadata"}
		}
	}
	if have, seen := c.take[p]; seen {
		properties = external.BothProperties(have, properties)
	}
	c.take[p] = properties
}

// valuesBefore are times and tokens of what was in use before. One place may have
// several tokens: of a value and what describes it, of one that is kept and one
// that is read again, of two namespaces.
func (r *run) valuesBefore() (map[place]time.Time, map[place]map[secret.Token]bool) {
	if w := r.memory.wanted; w != nil && w.material != nil {
		tokens := map[place]map[secret.Token]bool{}
		for _, u := range w.material.uses.Values {
			p := placeOf(u)
			if tokens[p] == nil {
				tokens[p] = map[secret.Token]bool{}
			}
			tokens[p][u.Token] = true
		}
		return w.material.changes.at, tokens
	}
	at := map[place]time.Time{}
	if s := r.app.Status.Secrets; s != nil {
		for _, ref := range s.References {
			p := place{ref.Store, ref.Key, ref.Version}
			if ref.ChangedAt != nil {
				at[p] = ref.ChangedAt.Time
			}
		}
	}
	return at, nil
}

// references lists the values in use, as a status has them.
func (c changes) references() (listed []v1alpha1.SecretReferenceStatus, more int32) {
	for p, at := range c.at {
		listed = append(listed, v1alpha1.SecretReferenceStatus{
			Store: p.store, Key: p.key, Properties: c.take[p], Version: p.version, ChangedAt: &metav1.Time{Time: at},
		})
	}
	slices.SortFunc(listed, func(a, b v1alpha1.SecretReferenceStatus) int {
		return cmp.Or(cmp.Compare(a.Store.Kind, b.Store.Kind), cmp.Compare(a.Store.Name, b.Store.Name),
			cmp.Compare(a.Key, b.Key), cmp.Compare(a.Version, b.Version))
	})
	bytes := 0
	for i, l := range listed {
		bytes += len(l.Store.Name) + len(l.Key) + len(l.Version)
		for _, name := range l.Properties {
			bytes += len(name)
		}
		if i == maxReferences || bytes > maxReferenceBytes {
			return listed[:i], int32(len(listed) - i)
		}
	}
	return listed, 0
}

// text says of which stores how many values changed; "" where none did.
func (c changes) text() string {
	var parts []string
	for store, n := range c.news {
		parts = append(parts, fmt.Sprintf("%s of %s %q", count(n, "key"), store.Kind, store.Name))
	}
	slices.Sort(parts)
	if len(parts) > maxWaiting {
		parts = append(parts[:maxWaiting], "others")
	}
	return strings.Join(parts, ", ")
}

// newValues tells of the values for which a run applied something.
func (r *run) newValues() string {
	w := r.memory.wanted
	if r.reason != v1alpha1.SyncSecret || w == nil || w.material == nil {
		return ""
	}
	if text := w.material.changes.text(); text != "" {
		return ", for new values: " + text
	}
	return ", for new values"
}

// keptStores names stores and why their last values are kept.
func keptStores(stale map[v1alpha1.StoreReference]string) string {
	var texts []string
	for s, why := range stale {
		texts = append(texts, fmt.Sprintf("%s %q: %s", s.Kind, s.Name, why))
	}
	slices.Sort(texts)
	if len(texts) > maxWaiting {
		texts = append(texts[:maxWaiting], "others")
	}
	return strings.Join(texts, "; ")
}

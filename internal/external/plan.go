package external

import (
	"cmp"
	"slices"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// defaultInterval is the refreshInterval where nobody says another, as the CRD
// of external-secrets.io has it; minInterval the shortest that counts.
const (
	defaultInterval = time.Hour
	minInterval     = 10 * time.Second
)

// plan is what a number of manifests ask for, so that it can be asked for at
// once.
type plan struct {
	requests []Request
	places   map[place]int // of requests
	asked    []place       // for each request
	finds    []find
	answers  []Answer
	left     map[*Manifest]render.Object // hollow Secrets
}

// place is what tells requests of one ExternalSecret apart.
type place struct {
	manifest *Manifest
	store    v1alpha1.StoreReference
	ref      providers.Ref
	found    bool // by a search, not named
}

// find is one search, and what it came to.
type find struct {
	manifest *Manifest
	field    string
	request  FindRequest
	found    Found
	err      error
}

// gather adds what a manifest asks for by name, and its searches.
func (p *plan) gather(m *Manifest, d Defaults) (problems []error) {
	named := func(field string, store v1alpha1.StoreReference) bool {
		if store.Name == "" {
			problems = append(problems, m.at(field, problemf(
				"set spec.secretStoreRef.name, or spec.secrets.external.storeRef of the Application", "names no store")))
		}
		return store.Name != ""
	}
	for _, e := range m.data {
		if store := d.store(m.storeOr(e.store)); named(e.path, store) {
			p.ask(m, d, store, e.remote.ref, e.remote.property)
		}
	}
	for _, s := range m.dataFrom {
		store := d.store(m.storeOr(s.store))
		switch {
		case s.generator != nil || !named(s.path, store):
		case s.extract != nil:
			p.ask(m, d, store, s.extract.ref, s.extract.property)
		case s.find != nil:
			p.finds = append(p.finds, find{manifest: m, field: s.path + ".find", request: FindRequest{
				Namespace: d.namespace(m.Namespace), Store: store, Query: s.find.query, MaxAge: m.maxAge(d),
			}})
		}
	}
	return problems
}

// ask adds a request, or a property to the one that is there already.
func (p *plan) ask(m *Manifest, d Defaults, store v1alpha1.StoreReference, ref providers.Ref, property string) {
	r := Request{
		Namespace: d.namespace(m.Namespace), Store: store, Ref: ref, Properties: []string{property},
		MaxAge: m.maxAge(d), Optional: m.optional(),
	}
	i := p.add(place{manifest: m, store: store, ref: ref}, r)
	if have := &p.requests[i]; !slices.Contains(have.Properties, property) {
		have.Properties = append(have.Properties, property)
	}
}

// askFound adds a request for what a search has found. It may be gone all the
// same: a deleted version leaves its name behind.
func (p *plan) askFound(f find, key string) {
	p.add(place{manifest: f.manifest, store: f.request.Store, ref: providers.Ref{Key: key}, found: true}, Request{
		Namespace: f.request.Namespace, Store: f.request.Store, Ref: providers.Ref{Key: key}, Properties: []string{""},
		MaxAge: f.request.MaxAge, Optional: true,
	})
}

// add returns the index of the request at a place, and adds it where there is
// none.
func (p *plan) add(at place, r Request) int {
	i, known := p.places[at]
	if !known {
		i = len(p.requests)
		p.places[at] = i
		p.requests, p.asked = append(p.requests, r), append(p.asked, at)
	}
	return i
}

// BothProperties are the properties that two uses of one value take of it.
func BothProperties(a, b []string) []string {
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(a, b))))
}

// answer is the one to what was asked at a place.
func (p *plan) answer(at place) Answer { return p.answers[p.places[at]] }

// optional reports whether a key that is missing at its provider is left out.
func (m *Manifest) optional() bool { return m.target.deletion != deleteRetain }

// maxAge is how old values may be; negative: any age will do.
func (m *Manifest) maxAge(d Defaults) time.Duration {
	if interval := m.interval(d); interval > 0 {
		return interval
	}
	return -1
}

// firstAge is how old values may be that are not read again by time, when they
// are read first: as old as those of others, and new where somebody changed what
// asks for them.
func (d Defaults) firstAge(changed bool) time.Duration {
	if changed {
		return 0
	}
	return max(d.interval(), minInterval)
}

func (d Defaults) interval() time.Duration { return cmp.Or(d.Interval, defaultInterval) }

// interval is 0 where values are not refreshed by time.
func (m *Manifest) interval(d Defaults) time.Duration {
	interval := d.interval()
	if m.refresh.interval != nil {
		interval = *m.refresh.interval
	}
	if m.refresh.policy != refreshPeriodic || interval <= 0 {
		return 0
	}
	return max(interval, minInterval)
}

// seed is what the manifest's values are derived for, and the end of the epoch;
// the zero time where there is none.
func (m *Manifest) seed(d Defaults, now time.Time) (Seed, time.Time) {
	s := Seed{Home: d.Home, Namespace: d.namespace(m.Namespace), Name: m.Name, Once: m.refresh.policy == refreshCreatedOnce}
	if s.Once {
		s.Began = now
	}
	interval := m.interval(d)
	if interval == 0 {
		return s, time.Time{}
	}
	s.Epoch = now.UnixNano() / int64(interval)
	s.Began = time.Unix(0, s.Epoch*int64(interval)).UTC()
	return s, s.Began.Add(interval)
}

// uses lists what was read, each value once. What is not read again by time may
// be an older one than others have of the same key.
func (p *plan) uses(values *secret.Set) Uses {
	type identity struct {
		namespace string
		store     v1alpha1.StoreReference
		ref       providers.Ref
		timeless  bool
		token     secret.Token
	}
	var u Uses
	seen := map[identity]int{}
	for i, r := range p.requests {
		if i >= len(p.answers) || p.answers[i].Err != nil {
			continue
		}
		a := p.answers[i]
		use := Use{Namespace: r.Namespace, Store: r.Store, Ref: r.Ref, Version: a.Version, Read: a.Read, MaxAge: r.MaxAge, Kept: a.Kept}
		if !slices.Contains(r.Properties, "") {
			use.Properties = slices.Sorted(slices.Values(r.Properties))
		}
		if !a.Missing {
			use.Token = values.Add(a.Value, secret.String)
		}
		if p.asked[i].manifest.once() {
			continue
		}
		id := identity{r.Namespace, r.Store, r.Ref, r.MaxAge < 0, use.Token}
		first, known := seen[id]
		if !known {
			seen[id] = len(u.Values)
			u.Values = append(u.Values, use)
			continue
		}
		have := &u.Values[first]
		have.Properties = BothProperties(have.Properties, use.Properties)
		have.MaxAge = min(have.MaxAge, use.MaxAge)
	}
	for _, f := range p.finds {
		if f.err == nil && !f.manifest.once() {
			u.Finds = append(u.Finds, FindUse{f.request.Namespace, f.request.Store, f.request.Query, f.found.Keys, f.found.Read, f.request.MaxAge, f.found.Kept})
		}
	}
	return u
}

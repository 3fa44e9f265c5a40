package external

import (
	"crypto/sha256"
	"encoding/json"

	"github.com/gitseal/gitseal/internal/render"
)

// Held are the answers in use of ExternalSecrets whose values are not read again
// by time. They stay as they are until the ExternalSecret is changed in Git,
// whatever its provider has by then and whoever else reads it. The zero value
// holds none.
type Held struct{ of map[secretID]*holding }

// holding is what one ExternalSecret holds; places and finds are without it.
type holding struct {
	content digest
	answers map[place]Answer
	finds   map[string]Found // by field
}

// digest tells whether a manifest was changed.
type digest [sha256.Size]byte

// digestOf is of what a change of counts: an annotation that asks for a refresh
// is one.
func digestOf(o render.Object) digest {
	text, _ := json.Marshal([]any{o.Object["spec"], o.GetLabels(), o.GetAnnotations()}) // it came of YAML
	return sha256.Sum256(text)
}

// asking are the requests of a plan as they are put to the resolver.
func (p *plan) asking(from int, h Held, d Defaults) []Request {
	asked := make([]Request, len(p.requests)-from)
	for i := range asked {
		asked[i] = p.requests[from+i]
		if at := p.asked[from+i]; asked[i].MaxAge < 0 {
			held, changed := h.lent(at.manifest, d)
			at.manifest = nil
			if a, ok := held.answers[at]; ok {
				asked[i].Held = &a
			}
			asked[i].MaxAge = d.firstAge(changed)
		}
	}
	return asked
}

// searching is the request of a search as it is put to the resolver.
func (f *find) searching(h Held, d Defaults) FindRequest {
	r := f.request
	if r.MaxAge < 0 {
		held, changed := h.lent(f.manifest, d)
		if found, ok := held.finds[f.field]; ok {
			r.Held = &found
		}
		r.MaxAge = d.firstAge(changed)
	}
	return r
}

// lent is what a manifest holds; nothing, once it has changed.
func (h Held) lent(m *Manifest, d Defaults) (held holding, changed bool) {
	known := h.of[secretID{d.namespace(m.Namespace), m.Name}]
	switch {
	case known == nil:
		return holding{}, false
	case known.content != m.content:
		return holding{}, true
	}
	return *known, false
}

// held is what a plan's manifests are to hold.
func (p *plan) held(d Defaults) Held {
	h := Held{of: map[secretID]*holding{}}
	for i, at := range p.asked {
		m := at.manifest
		if p.requests[i].MaxAge >= 0 || i >= len(p.answers) || p.answers[i].Err != nil {
			continue
		}
		at.manifest = nil
		h.by(m, d, p.answers[i].Kept).answers[at] = p.answers[i]
	}
	for _, f := range p.finds {
		if f.request.MaxAge < 0 && f.err == nil {
			h.by(f.manifest, d, f.found.Kept).finds[f.field] = f.found
		}
	}
	for m := range p.left {
		h.by(m, d, "")
	}
	return h
}

// by is what a manifest holds. What was kept in an outage is not to stay: the
// manifest counts as changed until it was answered. So does one whose Secret is
// made once, which is made anew of what its store says then.
func (h Held) by(m *Manifest, d Defaults, kept string) *holding {
	id := secretID{d.namespace(m.Namespace), m.Name}
	if h.of[id] == nil {
		h.of[id] = &holding{content: m.content, answers: map[place]Answer{}, finds: map[string]Found{}}
	}
	if kept != "" || m.once() {
		h.of[id].content = digest{}
	}
	return h.of[id]
}

package fetch

import (
	"strconv"
	"time"
)

// Proof is how far two answers lie apart that prove that something is gone. One
// alone may be that of a replica which lags behind, or of a list that was cut
// short.
const Proof = 30 * time.Second

// Missing are two proofs that something is not there; with one they are the
// same.
type Missing struct{ First, Last time.Time }

// again takes in another proof.
func (m Missing) again(at time.Time) Missing {
	if m.First.IsZero() {
		m.First = at
	}
	m.Last = at
	return m
}

// Proven reports whether they lie far enough apart.
func (m Missing) Proven() bool { return m.Last.Sub(m.First) >= Proof }

// Unproven ends the sentence that says why what was known before is given out.
const Unproven = "which counts once it says so again, 30s later"

// unproven reports whether the last answer says that something is gone which
// another answer has to confirm.
func (a answer) unproven() bool {
	return !a.missing.Last.IsZero() || len(a.gone) > 0 || !a.doubt.Last.IsZero() && !a.doubt.Proven()
}

// last is when the call began that brought the last answer.
func (a answer) last() time.Time {
	switch {
	case !a.missing.Last.IsZero():
		return a.missing.Last
	case !a.doubt.Last.IsZero():
		return a.doubt.Last
	}
	return a.read
}

// followed is what is known after another answer to the same question.
func (a answer) followed(ordered bool, q question, next answer) answer {
	switch {
	case q.kind == find:
		return a.listed(next)
	case ordered && q.ref.Version == "" && before(next.version, a.version):
		return a.outlived(next)
	}
	return next
}

// listed remembers what a list lacks that was found before.
func (a answer) listed(next answer) answer {
	if len(next.keys) == 0 {
		next.doubt = a.doubt.again(next.read)
	}
	found := map[string]bool{}
	for _, k := range next.keys {
		found[k] = true
	}
	next.gone = map[string]time.Time{}
	for _, k := range a.keys {
		if !found[k] {
			next.gone[k] = next.read
		}
	}
	for k, since := range a.gone {
		if !found[k] && next.read.Sub(since) < Proof {
			next.gone[k] = since
		}
	}
	return next
}

// outlived keeps the newer version until it is proven that it is gone: what is
// rolled back, or made anew, begins with lower numbers.
func (a answer) outlived(next answer) answer {
	doubt := a.doubt.again(next.read)
	if doubt.Proven() {
		return next
	}
	a.doubt = doubt
	return a
}

// before compares versions that are numbers.
func before(version, other string) bool {
	n, err := strconv.ParseUint(version, 10, 64)
	m, err2 := strconv.ParseUint(other, 10, 64)
	return err == nil && err2 == nil && n < m
}

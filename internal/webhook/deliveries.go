package webhook

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

const (
	// memory is how long a delivery is remembered, and maxRemembered how many
	// are. Past both bounds a repetition is one more look at Git.
	memory        = 10 * time.Minute
	maxRemembered = 4096
)

// deliveries remembers what was accepted, so that a repetition does nothing.
type deliveries struct {
	clock clock.PassiveClock

	mu    sync.Mutex
	at    map[[sha256.Size]byte]time.Time
	order [][sha256.Size]byte // oldest first
}

func newDeliveries(c clock.PassiveClock) *deliveries {
	return &deliveries{clock: c, at: map[[sha256.Size]byte]time.Time{}}
}

// seen reports whether the same body came under the same id before. A delivery
// without an id is never the same as another: two pushes may look alike, and a
// look too many costs less than one too few.
func (d *deliveries) seen(p Provider, id string, body []byte) bool {
	if id == "" {
		return false
	}
	digest := fingerprint(p, id, body)
	d.mu.Lock()
	defer d.mu.Unlock()
	now := d.clock.Now()
	for len(d.order) > 0 && (len(d.order) >= maxRemembered || now.Sub(d.at[d.order[0]]) >= memory) {
		delete(d.at, d.order[0])
		d.order = d.order[1:]
	}
	if _, ok := d.at[digest]; ok {
		return true
	}
	d.at[digest] = now
	d.order = append(d.order, digest)
	return false
}

func fingerprint(p Provider, id string, body []byte) (digest [sha256.Size]byte) {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "%s\n%d\n%s\n", p, len(id), id)
	_, _ = h.Write(body)
	return [sha256.Size]byte(h.Sum(digest[:0]))
}

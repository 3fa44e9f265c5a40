package fetch_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gitseal/gitseal/internal/fetch"
)

func TestAThousandRequestsOverAQuarterAsManyKeys(t *testing.T) {
	for batch, want := range map[int]int{1: 250, 20: 13} {
		synctest.Test(t, func(t *testing.T) {
			b := &backend{takes: 100 * time.Millisecond}
			l := limits()
			l.Batch = batch
			c := client(t, start(t, fetch.Options{}), b, l)
			var requests []fetch.Request
			for i := range 1000 {
				requests = append(requests, request(names(250)[i%250], time.Hour))
			}
			for i, o := range c.Get(t.Context(), requests, 0) {
				wantValue(t, o, requests[i].Ref.Key)
			}
			if got := c.Stats().Calls; b.made() != want || got.Reads != int64(want) || got.Values != 250 || got.Failed != 0 {
				t.Errorf("with batches of %d: %d calls and %+v, want %d", batch, b.made(), got, want)
			}
			if b.busiest > 8 {
				t.Errorf("%d calls were under way at once, want at most 8", b.busiest)
			}
			c.Get(t.Context(), requests, 0)
			if b.made() != want {
				t.Errorf("asking again made %d calls more, want none", b.made()-want)
			}
		})
	}
}

package shard

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

func TestAWriteForALostApplicationIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.calm = true
		n := w.start("only", 1)
		w.settle([]*node{n}, duration)
		sent := 0
		send := func(ctx context.Context, method string) error {
			transport := Fence(through(func(*http.Request) (*http.Response, error) {
				sent++
				return httptest.NewRecorder().Result(), nil
			}))
			request, err := http.NewRequestWithContext(ctx, method, "http://server.example", http.NoBody)
			if err != nil {
				return err
			}
			response, err := transport.RoundTrip(request)
			if err == nil {
				err = response.Body.Close()
			}
			return err
		}
		held, done, mine := n.Hold(t.Context(), "ns", "app")
		if !mine {
			t.Fatal("the only member does not hold an Application")
		}
		defer done()
		if err := send(context.WithoutCancel(held), http.MethodPatch); err != nil || sent != 1 {
			t.Errorf("a write while it holds = %v", err)
		}
		n.Gone("only") // somebody deletes the Lease
		if held.Err() == nil {
			t.Error("the context goes on")
		}
		if err := send(context.WithoutCancel(held), http.MethodPatch); !errors.Is(err, ErrLost) || sent != 1 {
			t.Errorf("a write after it was lost = %v, want %v", err, ErrLost)
		}
		if err := send(context.WithoutCancel(held), http.MethodGet); err != nil {
			t.Errorf("a read after it was lost = %v", err)
		}
		if err := send(t.Context(), http.MethodPatch); err != nil {
			t.Errorf("a write of something else = %v", err)
		}
		w.end([]*node{n})
	})
}

// Who is refused does not ask again: it is told when the slot is gained anew.
func TestAClockThatJumpsAheadAndBackLeavesNoApplicationBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		w.calm = true
		n := w.start("only", 1)
		w.settle([]*node{n}, duration)
		synctest.Wait()
		before := n.gained.Load()
		n.clock.jump(duration)
		if _, _, mine := n.Hold(t.Context(), "ns", "app"); mine {
			t.Error("it takes work while its Lease seems to be over")
		}
		n.clock.jump(-duration)
		<-time.After(2 * renew)
		if got := n.gained.Load() - before; got != Slots {
			t.Errorf("%d slots were told to be gained, want %d", got, Slots)
		}
		w.settle([]*node{n}, 1)
		w.end([]*node{n})
	})
}

type through func(*http.Request) (*http.Response, error)

func (f through) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestWhoSharesWithNobodyHoldsEverything(t *testing.T) {
	var m *Member
	if ctx, done, mine := m.Hold(t.Context(), "ns", "app"); !mine || Check(ctx) != nil {
		t.Error("it does not")
	} else {
		done()
	}
}

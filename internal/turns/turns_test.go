package turns

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestATurnGoesToTheNextWhenItEndsOrTakesLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns, begun := New(2, time.Minute), time.Now()
		first, _ := turns.Take(t.Context())
		hung, _ := turns.Take(t.Context())
		time.AfterFunc(time.Second, first)
		third, ok := turns.Take(t.Context())
		if waited := time.Since(begun); !ok || waited != time.Second {
			t.Errorf("the third turn came after %s, %v, want when the first ended", waited, ok)
		}
		fourth, ok := turns.Take(t.Context())
		if waited := time.Since(begun); !ok || waited != time.Minute {
			t.Errorf("the fourth turn came after %s, %v, want when the second had taken long", waited, ok)
		}
		for _, end := range []func(){first, hung, third, fourth} {
			end() // also of one that was given away
		}
		if n := turns.Taken(); n != 0 {
			t.Errorf("%d turns are taken at the end", n)
		}
	})
}

func TestWhoGivesUpTakesNoTurn(t *testing.T) {
	turns := New(1, time.Hour)
	end, _ := turns.Take(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, ok := turns.Take(ctx); ok {
		t.Error("a turn was had after the context ended, with none free")
	}
	end()
	if _, ok := turns.Take(t.Context()); !ok {
		t.Error("the turn was lost")
	}
}

func TestNoTurnsAreNoBound(t *testing.T) {
	var none *Turns
	end, ok := none.Take(t.Context())
	if !ok {
		t.Error("nil gave no turn")
	}
	end()
}

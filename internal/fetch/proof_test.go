package fetch_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/internal/fetch"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
)

// versioned answers with a version, whose value it is, too; "" is missing.
func versioned(version string) func(context.Context, []providers.Ref) ([]providers.Result, error) {
	if version == "" {
		return failing(kind(providers.ErrNotFound))
	}
	return func(_ context.Context, refs []providers.Ref) ([]providers.Result, error) {
		results := make([]providers.Result, len(refs))
		for i := range refs {
			results[i] = providers.Result{Value: secret.NewValue([]byte(version)), Version: version}
		}
		return results, nil
	}
}

// counting opens a client of a provider that counts its versions, or does not.
func counting(t *testing.T, b *backend, ordered bool) *fetch.Client {
	t.Helper()
	c, err := start(t, fetch.Options{}).Client("identity", fetch.Opening{Ordered: ordered, Limits: limits(),
		Open: func(func()) (providers.Provider, error) { return b, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A replica that lags behind must not flip a value back; a secret that was made
// anew, or rolled back, counts all the same.
func TestAnOlderVersionCountsOnceItIsProven(t *testing.T) {
	type step struct {
		after  time.Duration
		answer string
		want   string // "" is missing
		kept   bool
	}
	tests := map[string]struct {
		ref       providers.Ref
		unordered bool
		steps     []step
	}{
		"a replica that lags behind": {steps: []step{
			{0, "10", "10", false}, {time.Minute, "9", "10", true}, {29 * time.Second, "9", "10", true}, {time.Second, "10", "10", false},
			{time.Minute, "9", "10", true}, // the proofs begin anew
		}},
		"one that gives a newer one meanwhile": {steps: []step{{0, "10", "10", false}, {time.Minute, "9", "10", true}, {time.Second, "11", "11", false}}},
		"what is rolled back":                  {steps: []step{{0, "10", "10", false}, {time.Minute, "9", "10", true}, {30 * time.Second, "9", "9", false}, {time.Second, "9", "9", false}}},
		"what is changed after it was":         {steps: []step{{0, "10", "10", false}, {time.Minute, "1", "10", true}, {30 * time.Second, "2", "2", false}, {time.Second, "1", "2", true}}},
		"what was missing in between":          {steps: []step{{0, "10", "10", false}, {time.Minute, "", "", false}, {time.Second, "1", "1", false}}},
		"a version that was asked for":         {ref: providers.Ref{Version: "x"}, steps: []step{{0, "10", "10", false}, {time.Minute, "9", "9", false}}},
		"versions that are no numbers":         {steps: []step{{0, "b", "b", false}, {time.Minute, "a", "a", false}}},
		"a provider that does not count":       {unordered: true, steps: []step{{0, "10", "10", false}, {time.Minute, "9", "9", false}}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := &backend{}
				c := counting(t, b, !tt.unordered)
				var read time.Time
				for i, s := range tt.steps {
					pass(s.after)
					b.answers(versioned(s.answer))
					o := c.Get(t.Context(), []fetch.Request{{Ref: tt.ref}}, 0)[0]
					if s.want == "" {
						wantKind(t, o, providers.ErrNotFound)
						continue
					}
					if !s.kept {
						read = time.Now()
					}
					if o.Err != nil || string(o.Value.Reveal()) != s.want || o.Version != s.want || o.Stale != s.kept || !o.Read.Equal(read) {
						t.Errorf("step %d: version %q, kept %v, read %v, %v, want %q, %v, %v", i, o.Version, o.Stale, o.Read, o.Err, s.want, s.kept, read)
					}
					if s.kept && (!errors.As(o.Cause, new(*providers.Error)) || !strings.Contains(o.Cause.Error(), "older version")) {
						t.Errorf("step %d: it is kept because of %v", i, o.Cause)
					}
				}
			})
		})
	}
}

// What waits for its proof is asked for again by those whom an answer of any age
// would do, but not by each of them.
func TestWhatIsNotProvenServesForTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &backend{get: versioned("2")}
		c := counting(t, b, true)
		one(t.Context(), c, "a", 0, 0)
		b.answers(versioned("1"))
		for _, want := range []struct {
			after   time.Duration
			maxAge  time.Duration
			version string
			calls   int
		}{{time.Minute, 0, "2", 2}, {9 * time.Second, -1, "2", 2}, {time.Second, time.Hour, "2", 3}, {20 * time.Second, -1, "1", 4}, {time.Hour, -1, "1", 4}} {
			pass(want.after)
			if o := one(t.Context(), c, "a", want.maxAge, 0); o.Version != want.version || b.made() != want.calls {
				t.Errorf("version %q after %d calls, want %q after %d", o.Version, b.made(), want.version, want.calls)
			}
		}
	})
}

// lister finds what a test says.
type lister struct {
	backend
	finds atomic.Pointer[string] // "" is nothing, "!" an error
}

func (l *lister) Find(context.Context, providers.Query) ([]string, error) {
	keys := *l.finds.Load()
	if keys == "!" {
		return nil, kind(providers.ErrNotFound)
	}
	return strings.Fields(keys), nil
}

func TestKeysThatAreNotFoundAnyMoreAreGoneOnceItIsProven(t *testing.T) {
	type step struct {
		after       time.Duration
		finds       string
		want        string
		kept, empty bool // empty: it is proven that there is nothing
	}
	tests := map[string][]step{
		"what grows counts at once":        {{0, "a", "a", false, false}, {time.Second, "a b", "a b", false, false}},
		"a key that goes":                  {{0, "a b", "a b", false, false}, {time.Minute, "a", "a b", true, false}, {29 * time.Second, "a", "a b", true, false}, {time.Second, "a", "a", false, false}},
		"a list that was cut short once":   {{0, "a b", "a b", false, false}, {time.Minute, "a", "a b", true, false}, {time.Minute, "a b", "a b", false, false}, {time.Second, "a", "a b", true, false}},
		"keys that go one after the other": {{0, "a b c", "a b c", false, false}, {time.Minute, "b c", "a b c", true, false}, {20 * time.Second, "c", "a b c", true, false}, {20 * time.Second, "c", "b c", true, false}, {20 * time.Second, "c", "c", false, false}},
		"some come while others go":        {{0, "a b", "a b", false, false}, {time.Minute, "b c", "a b c", true, false}, {30 * time.Second, "c d", "b c d", true, false}},
		"an error in between":              {{0, "a b", "a b", false, false}, {time.Minute, "a", "a b", true, false}, {time.Minute, "!", "", false, false}, {time.Second, "a", "a", false, false}},
		"an error before":                  {{0, "a b", "a b", false, false}, {time.Minute, "!", "", false, false}, {time.Second, "a", "a b", true, false}},
		"all of them":                      {{0, "a b", "a b", false, false}, {time.Minute, "", "a b", true, false}, {30 * time.Second, "", "", false, true}, {time.Hour, "", "", false, true}},
		"nothing from the beginning":       {{0, "", "", false, false}, {29 * time.Second, "", "", false, false}, {time.Second, "", "", false, true}, {time.Second, "a", "a", false, false}, {time.Minute, "", "a", true, false}},
	}
	for name, steps := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &lister{}
				c := client(t, start(t, fetch.Options{}), l, limits())
				for i, s := range steps {
					pass(s.after)
					l.finds.Store(&s.finds)
					o := c.Find(t.Context(), providers.Query{Name: "."}, 0, 0)
					if s.finds == "!" {
						wantKind(t, o, providers.ErrNotFound)
						continue
					}
					if diff := cmp.Diff(strings.Fields(s.want), append([]string{}, o.Keys...)); diff != "" || o.Err != nil || len(o.Lost) > 0 != s.kept || o.Stale || !o.Read.Equal(time.Now()) {
						t.Errorf("step %d: lost %q, read %v, %v (-want +got):\n%s", i, o.Lost, o.Read, o.Err, diff)
					}
					if len(o.Keys) == 0 && o.Missing.Proven() != s.empty {
						t.Errorf("step %d: that there is nothing is proven: %v, want %v", i, !s.empty, s.empty)
					}
				}
			})
		})
	}
}

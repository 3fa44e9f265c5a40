package providertest_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/file"
	"github.com/gitseal/gitseal/providers/providertest"
)

// store is what a backend of files gives.
type store interface {
	providers.Provider
	providers.Finder
	providers.Checker
}

// mutant is a sound backend with a fault in how it reads, or finds.
type mutant struct {
	store
	get  func(ctx context.Context, next store, refs []providers.Ref) ([]providers.Result, error)
	find func(ctx context.Context, next store, q providers.Query) ([]string, error)
}

func (m mutant) Get(ctx context.Context, refs []providers.Ref) ([]providers.Result, error) {
	if m.get == nil {
		return m.store.Get(ctx, refs)
	}
	return m.get(ctx, m.store, refs)
}

func (m mutant) Find(ctx context.Context, q providers.Query) ([]string, error) {
	if m.find == nil {
		return m.store.Find(ctx, q)
	}
	return m.find(ctx, m.store, q)
}

// each changes results one by one.
func each(change func(providers.Ref, *providers.Result)) mutant {
	return mutant{get: func(ctx context.Context, next store, refs []providers.Ref) ([]providers.Result, error) {
		results, err := next.Get(ctx, refs)
		for i := range results {
			change(refs[i], &results[i])
		}
		return results, err
	}}
}

// onError changes errors.
func onError(change func(error) error) mutant {
	return each(func(_ providers.Ref, r *providers.Result) {
		if r.Err != nil {
			r.Err = change(r.Err)
		}
	})
}

const leaked = "confidential-4711"

func mutants() map[string]mutant {
	var mu sync.Mutex
	cached := map[string]secret.Value{}
	return map[string]mutant{
		"missing is an outage": onError(func(error) error { return &providers.Error{Kind: providers.ErrUnavailable} }),
		"errors have no type":  onError(errors.Unwrap),
		"errors have no kind":  onError(func(error) error { return errors.New("something went wrong") }),
		"errors quote secrets": onError(func(err error) error { return &providers.Error{Kind: errors.Unwrap(err), Detail: "is " + leaked} }),
		"values are trimmed": each(func(_ providers.Ref, r *providers.Result) {
			r.Value = secret.NewValue(bytes.TrimSpace(r.Value.Reveal()))
		}),
		"values are cached": each(func(ref providers.Ref, r *providers.Result) {
			mu.Lock()
			defer mu.Unlock()
			if v, ok := cached[ref.Key]; ok && r.Err == nil {
				r.Value = v
			}
			cached[ref.Key] = r.Value
		}),
		"versions are made up": each(func(_ providers.Ref, r *providers.Result) { r.Version = "1" }),
		"the context is not looked at": {get: func(ctx context.Context, next store, refs []providers.Ref) ([]providers.Result, error) {
			return next.Get(context.WithoutCancel(ctx), refs)
		}},
		"answers stand in another order": {get: func(ctx context.Context, next store, refs []providers.Ref) ([]providers.Result, error) {
			results, err := next.Get(ctx, refs)
			slices.Reverse(results)
			return results, err
		}},
		"answers are lacking": {get: func(ctx context.Context, next store, refs []providers.Ref) ([]providers.Result, error) {
			results, err := next.Get(ctx, refs)
			return results[:min(len(results), 1)], err
		}},
		"one error fails the batch": {get: func(ctx context.Context, next store, refs []providers.Ref) ([]providers.Result, error) {
			results, err := next.Get(ctx, refs)
			for _, r := range results {
				if r.Err != nil {
					return nil, r.Err
				}
			}
			return results, err
		}},
		"keys are not sorted": {find: func(ctx context.Context, next store, q providers.Query) ([]string, error) {
			keys, err := next.Find(ctx, q)
			slices.Reverse(keys)
			return keys, err
		}},
		"an empty query finds nothing": {find: func(ctx context.Context, next store, q providers.Query) ([]string, error) {
			if q.Path == "" && q.Name == "" && len(q.Tags) == 0 {
				return nil, nil
			}
			return next.Find(ctx, q)
		}},
		"the query is ignored": {find: func(ctx context.Context, next store, _ providers.Query) ([]string, error) {
			return next.Find(ctx, providers.Query{})
		}},
	}
}

// TestTheSuiteSees runs the suite in a process of its own for each fault, where
// it has to fail, and without any, where it has to pass.
func TestTheSuiteSees(t *testing.T) {
	names := map[string]bool{"": true}
	for name := range mutants() {
		names[name] = false
	}
	for name, sound := range names {
		t.Run("that "+cmp.Or(name, "nothing is wrong"), func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMutant$", "-test.timeout=5m")
			cmd.Env = append(os.Environ(), "MUTANT="+name, "MUTANT_RUNS=yes")
			if out, err := cmd.CombinedOutput(); (err == nil) != sound {
				t.Errorf("the suite ended with %v, want it to pass: %v\n%s", err, sound, out)
			}
		})
	}
}

// TestMutant is what TestTheSuiteSees runs.
func TestMutant(t *testing.T) {
	fault := mutants()[os.Getenv("MUTANT")]
	if os.Getenv("MUTANT_RUNS") == "" {
		fault = mutant{} // on its own it runs the sound one
	}
	top := t.TempDir()
	sound := file.Backend(top)
	backend := providers.Backend{Dialect: providers.Text, Batch: 4, Open: func(s providers.Store) (providers.Provider, error) {
		p, err := sound.Open(s)
		if err != nil {
			return nil, err
		}
		m := fault
		m.store = p.(store)
		return m, nil
	}}
	without := map[providertest.Feature]string{}
	for _, f := range []providertest.Feature{
		providertest.Versions, providertest.Pinning, providertest.Metadata, providertest.Denial, providertest.Credentials, providertest.Sessions,
		providertest.Throttling, providertest.RetryAfter, providertest.Outages, providertest.Network, providertest.FindByTags,
	} {
		without[f] = "files have none"
	}
	providertest.Run(t, providertest.Subject{
		Backend: backend, Without: without, OddKeys: []string{"a b"}, BadKeys: []string{"../a"},
		New: func(t *testing.T) *providertest.Server {
			dir := filepath.Join(top, filepath.Base(t.Name()))
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			return &providertest.Server{
				Store:        providers.Store{Ambient: true, Spec: v1alpha1.StoreProvider{File: &v1alpha1.FileProvider{Directory: filepath.Base(dir)}}},
				Confidential: []string{leaked},
				Put: func(key string, content []byte) string {
					p := filepath.Join(dir, key)
					if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o700), os.WriteFile(p, content, 0o600)); err != nil {
						t.Fatal(err)
					}
					return ""
				},
			}
		},
	})
}

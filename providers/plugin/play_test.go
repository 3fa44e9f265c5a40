package plugin_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/plugin/serve"
)

// play is a plugin that does as it is told by a file.
func play(ctx context.Context, dir string) error {
	return serve.Run(ctx, dir+".sock", serve.Plugin{Batch: 20, Open: func(_ context.Context, s serve.Settings) (serve.Store, error) {
		if string(s.Credentials["password"]) != "open sesame" || s.Config["realm"] != "test" || s.Ambient {
			return nil, fmt.Errorf("%w: the plugin says hunter2: %s", providers.ErrUnauthenticated, s.Credentials["password"])
		}
		return player{dir}, note(dir, "opens")
	}})
}

// note counts something, over restarts.
func note(dir, what string) error {
	f, err := os.OpenFile(filepath.Join(dir, what), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(".")
	return err
}

type player struct{ dir string }

func (p player) orders() (orders, error) {
	var o orders
	raw, err := os.ReadFile(filepath.Join(p.dir, "orders"))
	if err == nil {
		err = json.Unmarshal(raw, &o)
	}
	if err == nil && o.Throttle != nil {
		err = &providers.Error{Kind: providers.ErrThrottled, Detail: "the plugin says hunter2", RetryAfter: time.Duration(*o.Throttle) * time.Millisecond}
	}
	return o, err
}

func (p player) Get(_ context.Context, refs []providers.Ref) ([]serve.Result, error) {
	if err := note(p.dir, "gets"); err != nil {
		return nil, err
	}
	o, err := p.orders()
	if err != nil {
		return nil, err
	}
	results := make([]serve.Result, len(refs))
	for i, ref := range refs {
		results[i] = o.get(ref)
	}
	return results, nil
}

func (o orders) get(ref providers.Ref) serve.Result {
	values := o.Values[ref.Key]
	n := len(values)
	if ref.Version != "" {
		n, _ = strconv.Atoi(ref.Version)
	}
	switch {
	case o.Denied[ref.Key]:
		return serve.Result{Err: fmt.Errorf("%w: the plugin says hunter2: %s", providers.ErrDenied, values)}
	case n < 1 || n > len(values):
		return serve.Result{Err: providers.ErrNotFound}
	case ref.Metadata:
		raw, err := json.Marshal(o.Tags[ref.Key])
		return serve.Result{Data: raw, Err: err}
	}
	return serve.Result{Data: values[n-1], Version: strconv.Itoa(n)}
}

// Find implements providers.Finder.
func (p player) Find(_ context.Context, q providers.Query) ([]string, error) {
	o, err := p.orders()
	if err != nil {
		return nil, err
	}
	name, err := regexp.Compile(q.Name)
	if err != nil {
		return nil, providers.ErrInvalid
	}
	var keys []string
	for _, key := range slices.Sorted(maps.Keys(o.Values)) {
		tagged := true
		for k, v := range q.Tags {
			tagged = tagged && o.Tags[key][k] == v
		}
		if tagged && name.MatchString(key) && (q.Path == "" || strings.HasPrefix(key, q.Path+"/")) {
			keys = append(keys, key)
		}
	}
	return keys, nil
}

// Check implements providers.Checker.
func (p player) Check(context.Context) (string, error) {
	_, err := p.orders()
	return "player@test", err
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

// selection says which cells to run.
type selection struct {
	Scenario string
	K        int
	Mode     Mode
	Double   int
	Storms   int
	// Sample is how many single faults to draw for each scenario; 0 is all.
	Sample   int
	Seed     uint64
	Parallel int
}

// result is one cell.
type result struct {
	Scenario string   `json:"scenario"`
	K        int      `json:"k,omitempty"`
	Faults   []Fault  `json:"faults,omitempty"`
	Lag      string   `json:"lag,omitempty"`
	Storm    uint64   `json:"storm,omitempty"`
	Reached  bool     `json:"reached"`
	Seconds  float64  `json:"seconds"`
	Broken   []string `json:"broken,omitempty"`
	logs     string
}

func (r result) String() string {
	what := make([]string, 0, len(r.Faults)+2)
	for _, f := range r.Faults {
		what = append(what, f.String())
	}
	if r.K > 0 {
		what = append(what, fmt.Sprintf("k=%d", r.K))
	}
	if r.Lag != "" {
		what = append(what, "lag "+r.Lag)
	}
	if r.Storm > 0 {
		what = append(what, fmt.Sprintf("storm %d", r.Storm))
	}
	return r.Scenario + ": " + strings.Join(what, ", ")
}

// report is a whole enumeration.
type report struct {
	Seed    uint64             `json:"seed"`
	Points  map[string][]Point `json:"points"` // by scenario; k counts from 1
	Results []result           `json:"results"`
	Seconds float64            `json:"seconds"`
}

// job is a cell to run and what to compare it with.
type job struct {
	scenario scenario
	want     record
	result   result
	variant  variant
}

// enumerate runs the cells of a selection.
func (w *world) enumerate(ctx context.Context, s selection, progress io.Writer) (*report, error) {
	begun := time.Now()
	r := &report{Seed: s.Seed, Points: map[string][]Point{}}
	jobs, err := w.plan(ctx, s, r)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(max(s.Parallel, 1))
	for _, j := range jobs {
		g.Go(func() error {
			done := w.do(ctx, j)
			mu.Lock()
			defer mu.Unlock()
			r.Results = append(r.Results, done)
			fmt.Fprintf(progress, "%4d/%d %5.1fs %s%s\n", len(r.Results), len(jobs), done.Seconds, done, done.mark())
			for _, b := range done.Broken {
				fmt.Fprintf(progress, "  %s\n", strings.ReplaceAll(b, "\n", "\n  "))
			}
			if len(done.Broken) > 0 {
				fmt.Fprint(progress, done.logs)
			}
			return ctx.Err()
		})
	}
	err = g.Wait()
	r.Seconds = time.Since(begun).Seconds()
	return r, err
}

// plan learns the scenarios of a selection and draws their cells.
func (w *world) plan(ctx context.Context, s selection, r *report) ([]job, error) {
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(max(s.Parallel, 1))
	planned := make([][]job, len(scenarios))
	for i, sc := range scenarios {
		if s.Scenario != "" && !slices.Contains(strings.Split(s.Scenario, ","), sc.name) {
			continue
		}
		g.Go(func() error {
			want, points, err := w.learn(ctx, sc)
			mu.Lock()
			defer mu.Unlock()
			r.Points[sc.name], planned[i] = points, s.jobs(sc, want, points)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	jobs := slices.Concat(planned...)
	if len(jobs) == 0 {
		return nil, fmt.Errorf("no cell is selected: scenario %q, k %d, mode %q", s.Scenario, s.K, s.Mode)
	}
	return jobs, nil
}

// learn runs a scenario without faults, twice: what differs between the two
// could not be told from what a fault does.
func (w *world) learn(ctx context.Context, s scenario) (record, []Point, error) {
	first, err := w.newCell(s, variant{}).run(ctx, nil)
	if err != nil {
		return record{}, nil, fmt.Errorf("%s without faults: %w", s.name, err)
	}
	want := first.record()
	second, err := w.newCell(s, variant{}).run(ctx, nil)
	if err != nil {
		return record{}, nil, fmt.Errorf("%s without faults, again: %w", s.name, err)
	}
	if broken := judge(second, want); len(broken) > 0 {
		return record{}, nil, fmt.Errorf("%s does not come to the same twice without faults:\n%s\n%s", s.name, strings.Join(broken, "\n"), second.cell.logs())
	}
	w.observer.forget(first.cell.name)
	w.observer.forget(second.cell.name)
	return want, first.points, nil
}

// jobs are the cells of one scenario.
func (s selection) jobs(sc scenario, want record, points []Point) []job {
	random := newRandom(s.Seed)
	var singles []job
	for i, p := range points {
		for _, m := range sc.modesOf() {
			if (s.K == 0 || s.K == i+1) && (s.Mode == "" || s.Mode == m) {
				singles = append(singles, job{scenario: sc, want: want, result: result{Scenario: sc.name, K: i + 1, Faults: []Fault{{Mode: m, Point: p}}}})
			}
		}
	}
	if s.K > 0 || s.Mode != "" || len(points) == 0 {
		return singles
	}
	all := sample(random, singles, s.Sample)
	for range s.Double {
		all = append(all, job{scenario: sc, want: want, result: result{Scenario: sc.name, Faults: []Fault{
			{Mode: drawn(random, sc.modesOf()[:2]), Nth: 1 + random.IntN(len(points))},
			{Mode: drawn(random, sc.modesOf()), Nth: 1 + random.IntN(len(points))},
		}}})
	}
	for range s.Storms {
		seed := 1 + random.Uint64N(1000)
		lag := time.Duration(50+random.IntN(350)) * time.Millisecond
		p := points[random.IntN(len(points))]
		all = append(all,
			job{scenario: sc, want: want, variant: variant{storm: seed}, result: result{Scenario: sc.name, Storm: seed}},
			job{scenario: sc, want: want, variant: variant{lag: lag}, result: result{Scenario: sc.name, Lag: lag.String(), Faults: []Fault{{Mode: After, Point: p}}}})
	}
	return all
}

func newRandom(seed uint64) *rand.Rand {
	return rand.New(rand.NewPCG(seed, seed)) // to repeat it, not to hide it
}

func drawn[T any](random *rand.Rand, from []T) T { return from[random.IntN(len(from))] }

// sample draws n of the jobs, spread over them: one out of each n-th part.
func sample(random *rand.Rand, jobs []job, n int) []job {
	if n <= 0 || n >= len(jobs) {
		return slices.Clone(jobs)
	}
	chosen := make([]job, 0, n)
	for i := range n {
		from, to := i*len(jobs)/n, (i+1)*len(jobs)/n
		chosen = append(chosen, jobs[from+random.IntN(to-from)])
	}
	return chosen
}

// do runs one cell.
func (w *world) do(ctx context.Context, j job) result {
	begun := time.Now()
	r := j.result
	c := w.newCell(j.scenario, j.variant)
	o, err := c.run(ctx, r.Faults)
	switch {
	case err != nil:
		r.Broken = []string{"(did not converge) " + err.Error()}
	default:
		r.Reached = o.reached == len(r.Faults)
		r.Broken = judge(o, j.want)
	}
	r.logs = c.logs()
	w.observer.forget(c.name)
	r.Seconds = time.Since(begun).Seconds()
	return r
}

func (r result) mark() string {
	switch {
	case len(r.Broken) > 0:
		return "  BROKEN"
	case !r.Reached:
		return "  (the call did not come)"
	}
	return ""
}

// print writes the summary: a line per scenario and mode.
func (r *report) print(out io.Writer) {
	type row struct{ cells, reached, broken int }
	rows := map[string]*row{}
	var names []string
	for _, d := range r.Results {
		name := d.Scenario + "\t" + d.family()
		if rows[name] == nil {
			rows[name] = &row{}
			names = append(names, name)
		}
		rows[name].cells++
		if d.Reached {
			rows[name].reached++
		}
		if len(d.Broken) > 0 {
			rows[name].broken++
		}
	}
	slices.Sort(names)
	fmt.Fprintf(out, "%-16s %-10s %6s %8s %7s\n", "scenario", "fault", "cells", "reached", "broken")
	for _, name := range names {
		sc, family, _ := strings.Cut(name, "\t")
		fmt.Fprintf(out, "%-16s %-10s %6d %8d %7d\n", sc, family, rows[name].cells, rows[name].reached, rows[name].broken)
	}
	fmt.Fprintf(out, "%d cells in %.0f s, seed %d\n", len(r.Results), r.Seconds, r.Seed)
}

func (r result) family() string {
	switch {
	case r.Storm > 0:
		return "storm"
	case r.Lag != "":
		return "late watch"
	case len(r.Faults) > 1:
		return "double"
	}
	return string(r.Faults[0].Mode)
}

// verdict is an error where an invariant was broken, or where so few faults
// happened that nothing was tried.
func (r *report) verdict() error {
	reached, single := 0, 0
	var errs []error
	for _, d := range r.Results {
		if len(d.Broken) > 0 {
			errs = append(errs, fmt.Errorf("%s: %d broken; repeat with %s", d, len(d.Broken), d.repeat(r.Seed)))
		}
		if len(d.Faults) == 1 {
			single++
			if d.Reached {
				reached++
			}
		}
	}
	if reached*10 < single*8 {
		errs = append(errs, fmt.Errorf("only %d of %d single faults happened", reached, single))
	}
	return errors.Join(errs...)
}

func (r result) repeat(seed uint64) string {
	if r.K > 0 {
		return fmt.Sprintf("make crash CRASH='-scenario %s -k %d -mode %s'", r.Scenario, r.K, r.Faults[0].Mode)
	}
	return fmt.Sprintf("make crash CRASH='-scenario %s -seed %d'", r.Scenario, seed)
}

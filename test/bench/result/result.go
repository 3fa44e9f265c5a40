// Package result is the format of the files that the benchmarks write and the
// report reads. It knows nothing of how a figure comes about.
package result

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Gitseal is the name of the controller that is measured unless a peer is.
const Gitseal = "gitseal"

// Result is what one file holds: a scenario, run for one controller. It names
// no date and no commit; those are the repository's.
type Result struct {
	Scenario   string   `json:"scenario"`
	What       string   `json:"what"`
	Controller string   `json:"controller"`
	Machine    Machine  `json:"machine"`
	Workload   Workload `json:"workload"`
	// Targets are what the project has set itself, and whether it is so.
	Targets []Target        `json:"targets,omitempty"`
	Summary map[string]Stat `json:"summary"`
	Rounds  []Round         `json:"rounds"`
}

// Machine names where a result comes from.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Go     string `json:"go"`
	Kernel string `json:"kernel"`
}

// Workload says how much there was to do.
type Workload struct {
	Applications      int `json:"applications"`
	ObjectsEach       int `json:"objectsEach"`
	SealedSecretsEach int `json:"sealedSecretsEach"`
	// ExternalSecretsEach are those whose values a provider owns.
	ExternalSecretsEach int `json:"externalSecretsEach,omitempty"`
	Namespaces          int `json:"namespaces"`
}

// Round is one time that the scenario was played.
type Round struct {
	// Values are durations in seconds, sizes in MiB and so on, by the name of
	// the measure, which ends with its unit.
	Values map[string]float64 `json:"values"`
	// OwnCalls are the controller's requests by HTTP method as it counts them
	// itself. This is exactly its share.
	OwnCalls map[string]int `json:"ownCallsByMethod,omitempty"`
	// ServerCalls are what the API server counts by verb and resource, less
	// what the benchmark did itself. The rest of the control plane is in it:
	// it writes Deployments, and reads of everything.
	ServerCalls map[string]int `json:"apiServerCalls,omitempty"`
	// EtcdWrites are what etcd counts, by the rest of the control plane too.
	EtcdWrites map[string]int `json:"etcdWrites,omitempty"`
}

// Stat sums up one measure over the rounds.
type Stat struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// Target is a figure to reach.
type Target struct {
	What    string  `json:"what"`
	Measure string  `json:"measure"`
	Stat    string  `json:"stat"` // "median" or "max"
	AtMost  float64 `json:"atMost"`
	Got     float64 `json:"got"`
	Met     bool    `json:"met"`
}

// Complete rounds the values and fills in what follows from the rounds.
func (r *Result) Complete() {
	samples := map[string][]float64{}
	for i := range r.Rounds {
		for name, v := range r.Rounds[i].Values {
			v = tidy(v)
			r.Rounds[i].Values[name] = v
			samples[name] = append(samples[name], v)
		}
	}
	r.Summary = map[string]Stat{}
	for name, s := range samples {
		r.Summary[name] = Sum(s)
	}
	for i := range r.Targets {
		t := &r.Targets[i]
		stat, ok := r.Summary[t.Measure]
		t.Got = stat.Median
		if t.Stat == "max" {
			t.Got = stat.Max
		}
		t.Met = ok && t.Got <= t.AtMost
	}
}

// Sum is the median, least and greatest of samples, of which there is one at
// least.
func Sum(samples []float64) Stat {
	s := slices.Sorted(slices.Values(samples))
	n := len(s)
	return Stat{Median: tidy((s[(n-1)/2] + s[n/2]) / 2), Min: s[0], Max: s[n-1]}
}

// tidy keeps four digits: the others are noise, and change with every run.
func tidy(v float64) float64 {
	if v == 0 {
		return 0
	}
	scale := math.Pow(10, 3-math.Floor(math.Log10(math.Abs(v))))
	if scale < 1 {
		return math.Round(v)
	}
	return math.Round(v*scale) / scale
}

// file is where a result stands in a directory.
func (r *Result) file(dir string) string {
	name := r.Scenario
	if r.Controller != Gitseal {
		name += "." + r.Controller
	}
	return filepath.Join(dir, name+".json")
}

// Write writes the result into its file in a directory.
func (r *Result) Write(dir string) error {
	raw, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the result of %s: %w", r.Scenario, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(r.file(dir), append(raw, '\n'), 0o644)
}

// Read reads all results of a directory, in the order of their file names.
func Read(dir string) ([]Result, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	var all []Result
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var r Result
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, fmt.Errorf("parse %s: %w", file, err)
		}
		if r.Scenario == "" || len(r.Rounds) == 0 {
			return nil, fmt.Errorf("parse %s: it is no result of a benchmark", file)
		}
		all = append(all, r)
	}
	return all, nil
}

// Unit is what a measure is in, by the end of its name.
func Unit(measure string) string {
	for _, u := range []string{"Seconds", "Millis", "MiB", "KiB"} {
		if strings.Contains(measure, u) {
			return map[string]string{"Seconds": "s", "Millis": "ms", "MiB": "MiB", "KiB": "KiB"}[u]
		}
	}
	return ""
}

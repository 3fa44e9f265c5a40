// Command bench measures the operator on the sandbox and writes JSON: wall
// time, CPU, peak memory and API calls of a first sync of 1,000 objects, of a
// reconcile with nothing changed and of a commit that changes one object, next
// to the floor: the same objects sent by a bare parallel server-side-apply
// loop.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gitseal/gitseal/test/rig"
)

func main() {
	out := flag.String("out", "docs/bench", "directory for the results")
	rounds := flag.Int("rounds", 5, "rounds of each scenario")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *out, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

// Result is what one file holds.
type Result struct {
	Scenario string   `json:"scenario"`
	Machine  Machine  `json:"machine"`
	Objects  int      `json:"objects"`
	Rounds   []Sample `json:"rounds"`
	Median   Sample   `json:"median"`
}

// Machine names where a result comes from.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory string `json:"memory"`
	Go     string `json:"go"`
	Kernel string `json:"kernel"`
}

// Sample is one round.
type Sample struct {
	// FloorSeconds is the bare loop of the same round, where there is one.
	FloorSeconds float64 `json:"floorSeconds,omitempty"`
	// AppliedSeconds is until the last object was there, ReadySeconds until
	// the Application said so.
	AppliedSeconds float64 `json:"appliedSeconds"`
	ReadySeconds   float64 `json:"readySeconds,omitempty"`
	ObjectsPerSec  float64 `json:"objectsPerSecond,omitempty"`
	TimesFloor     float64 `json:"timesFloor,omitempty"`
	// CPUSeconds and PeakRSSMiB are the operator's.
	CPUSeconds float64 `json:"operatorCPUSeconds"`
	PeakRSSMiB float64 `json:"operatorPeakRSSMiB"`
	// Calls are the operator's requests by method, as it counts them; Objects
	// the API server's by verb and resource, for the kinds applied, minus what
	// others did.
	Calls      map[string]int `json:"operatorCallsByMethod"`
	TotalCalls int            `json:"operatorCalls"`
	Objects    map[string]int `json:"apiServerCallsForObjects,omitempty"`
}

func run(ctx context.Context, out string, rounds int) error {
	dir, err := os.MkdirTemp("", "gitseal-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	say("starting the sandbox")
	r, err := rig.Start(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	b := &bench{rig: r, out: out, rounds: rounds}
	if err := b.prepare(ctx); err != nil {
		return err
	}
	for _, scenario := range []func(context.Context) error{b.firstSync, b.noChange, b.oneChange} {
		if err := scenario(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) write(name string, objects int, samples []Sample) error {
	result := Result{Scenario: name, Machine: machine(), Objects: objects, Rounds: samples, Median: median(samples)}
	raw, err := json.MarshalIndent(result, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	m := result.Median
	say("%s: applied in %.2fs (%.2fx the floor of %.2fs), ready in %.2fs, %.2f CPU s, %.0f MiB, %d calls %v",
		name, m.AppliedSeconds, m.TimesFloor, m.FloorSeconds, m.ReadySeconds, m.CPUSeconds, m.PeakRSSMiB, m.TotalCalls, m.Calls)
	return os.WriteFile(filepath.Join(b.out, name+".json"), append(raw, '\n'), 0o644)
}

// median is the round whose applied time is the middle one: its figures belong
// together.
func median(samples []Sample) Sample {
	sorted := slices.Clone(samples)
	slices.SortFunc(sorted, func(a, b Sample) int {
		if a.AppliedSeconds < b.AppliedSeconds {
			return -1
		}
		return 1
	})
	return sorted[len(sorted)/2]
}

func machine() Machine {
	m := Machine{Cores: runtime.NumCPU(), Go: runtime.Version()}
	m.CPU = field("/proc/cpuinfo", "model name")
	m.Memory = field("/proc/meminfo", "MemTotal")
	if raw, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(raw))
	}
	return m
}

func field(file, name string) string {
	raw, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(raw)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, time.Now().Format("15:04:05 ")+format+"\n", args...)
}

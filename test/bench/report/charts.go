package main

import (
	"strings"

	"github.com/gitseal/gitseal/test/bench/result"
)

// plotted are the measures that have a plot, in the order of the page.
var plotted = []struct {
	kind, measure, title string
	// with is a measure of the same rounds to compare with.
	with, withLabel string
}{
	{"first-sync", "appliedSeconds", "First sync: until the last object is applied, and the floor", "floorSeconds", "floor"},
	{"first-sync", "cpuSeconds", "First sync: CPU", "apiServerCPUSeconds", "API server"},
	{"first-sync", "peakRSSMiB", "First sync: peak memory", "startRSSMiB", "with nothing to do"},
	{"change", "appliedSeconds", "One object in a commit: from the push until it is applied", "", ""},
	{"drift", "driftSeconds", "Drift: until it is corrected", "worstSeconds", "worst"},
	{"no-op", "cpuMillisPerApplication", "No-op sync: CPU per Application", "", ""},
	{"requested", "cpuMillisPerApplication", "Sync on request: CPU per Application", "", ""},
	{"restart", "wallSeconds", "Restart: until every Application has been looked at", "", ""},
}

// charts makes a plot of each measure over all workloads and controllers.
func charts(results []result.Result) []chart {
	var all []chart
	for _, p := range plotted {
		c := chart{file: p.kind + "-" + p.measure + ".svg", title: p.title, unit: result.Unit(p.measure)}
		for _, r := range results {
			stat, ok := r.Summary[p.measure]
			if kindOf(r) != p.kind || !ok {
				continue
			}
			c.bars = append(c.bars, bar{label: label(r), median: stat.Median, min: stat.Min, max: stat.Max, faint: r.Controller != result.Gitseal})
			if other, ok := r.Summary[p.with]; ok {
				c.bars = append(c.bars, bar{label: p.withLabel, median: other.Median, min: other.Min, max: other.Max, faint: true})
			}
		}
		if len(c.bars) > 0 {
			all = append(all, c)
		}
	}
	return all
}

func label(r result.Result) string {
	text := workloadOf(r)
	if r.Controller != result.Gitseal {
		text += ", " + r.Controller
	}
	return text
}

// kindOf and workloadOf split the name of a scenario, KIND-many-N or KIND-big-N.
func kindOf(r result.Result) string {
	for _, w := range []string{"-many-", "-big-"} {
		if kind, _, ok := strings.Cut(r.Scenario, w); ok {
			return kind
		}
	}
	return r.Scenario
}

func workloadOf(r result.Result) string {
	return strings.TrimPrefix(r.Scenario, kindOf(r)+"-")
}

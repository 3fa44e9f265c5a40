package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// usage is what processes and their children have used.
type usage struct {
	cpu     float64 // seconds
	rss     float64 // MiB
	peakRSS float64 // MiB, since the processes began
}

// used sums up over processes. The CPU of children that have ended counts too,
// their memory does not.
func used(pids []int) usage {
	var u usage
	for _, pid := range withChildren(pids) {
		u.cpu += cpuSeconds(pid)
		status := fmt.Sprintf("/proc/%d/status", pid)
		u.rss += mebibytes(field(status, "VmRSS"))
		u.peakRSS += mebibytes(field(status, "VmHWM"))
	}
	return u
}

func withChildren(pids []int) []int {
	var all []int
	for _, pid := range pids {
		all = append(all, pid)
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
		for _, list := range lists {
			raw, err := os.ReadFile(list)
			if err != nil {
				continue // it ended meanwhile
			}
			for _, child := range strings.Fields(string(raw)) {
				if n, err := strconv.Atoi(child); err == nil {
					all = append(all, withChildren([]int{n})...)
				}
			}
		}
	}
	return all
}

// cpuSeconds reads user and system time, with that of ended children (proc(5),
// fields 14 to 17, in ticks of 1/100 s).
func cpuSeconds(pid int) float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	ticks := 0.0
	for _, f := range fields[11:15] {
		n, _ := strconv.ParseFloat(f, 64)
		ticks += n
	}
	return ticks / 100
}

func mebibytes(kib string) float64 {
	number, _, _ := strings.Cut(kib, " ")
	n, _ := strconv.ParseFloat(number, 64)
	return n / 1024
}

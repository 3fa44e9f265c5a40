package process

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
)

// Identity names one process for good: a pid alone may be given to another
// process later, the moment it started (in clock ticks since boot) may not.
type Identity struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"`
}

// Identify returns the identity of the process that has the pid now.
func Identify(pid int) (Identity, error) {
	_, started, err := stat(pid)
	if err != nil {
		return Identity{}, err
	}
	return Identity{PID: pid, StartTime: started}, nil
}

// Alive reports whether the process still runs. A zombie does not: it only
// waits for a parent that may never look.
func (i Identity) Alive() bool {
	if i.PID <= 0 {
		return false
	}
	state, started, err := stat(i.PID)
	return err == nil && started == i.StartTime && state != "Z" && state != "X"
}

// Signal sends the signal to the process, and to nothing else if it has gone.
func (i Identity) Signal(sig syscall.Signal) error {
	if !i.Alive() {
		return nil
	}
	return ignoreGone(syscall.Kill(i.PID, sig))
}

// SignalGroup sends the signal to the process group that the process leads.
func (i Identity) SignalGroup(sig syscall.Signal) error {
	if !i.Alive() {
		return nil
	}
	return ignoreGone(syscall.Kill(-i.PID, sig))
}

func ignoreGone(err error) error {
	if err == syscall.ESRCH {
		return nil
	}
	return err
}

// stat reads the state and the start time, fields 3 and 22 of /proc/PID/stat.
func stat(pid int) (state string, started uint64, err error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	raw, err := os.ReadFile(path)
	if err != nil {
		return "", 0, err
	}
	// Field 2 is the program's name in parentheses and may hold anything, so
	// the counting starts behind its last parenthesis.
	_, rest, found := strings.Cut(string(raw[max(0, strings.LastIndexByte(string(raw), ')')):]), " ")
	fields := strings.Fields(rest)
	if !found || len(fields) < 20 {
		return "", 0, fmt.Errorf("parse %q: too few fields", path)
	}
	started, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("parse %q: %w", path, err)
	}
	return fields[0], started, nil
}

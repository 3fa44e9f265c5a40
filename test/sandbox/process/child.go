// Package process runs the sandbox's programs as children that cannot outlive
// it. It owns starting, watching and stopping them; it must not know what they
// are.
package process

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Spec says what to run.
type Spec struct {
	Name string
	Path string
	Args []string
	Env  []string
	Dir  string
	Log  string
	// Halt is a file. While it is there the program's end is no failure, and
	// when it has gone the program is started again. It says Down once the end
	// was noticed, and must not go before.
	Halt string
}

// Down is what a halt file then says.
const Down = "down\n"

// halted reports whether the program is meant to be down.
func (s Spec) halted() bool {
	_, err := os.Stat(s.Halt)
	return s.Halt != "" && err == nil
}

// Child is a started program.
type Child struct {
	Spec     Spec
	Identity Identity

	done chan struct{}
	err  error // how it ended; set before done is closed
}

// start runs the program with its output in its log file.
func start(spec Spec) (*Child, error) {
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	c := &Child{Spec: spec, done: make(chan struct{})}
	started := make(chan error, 1)
	go c.run(log, started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %q: %w", spec.Name, err)
	}
	return c, nil
}

// run starts the program and waits for its end, both on one thread: the kernel
// sends the death signal when the thread that started the child ends, not when
// the process does, and the Go runtime ends idle threads as it likes.
func (c *Child) run(log *os.File, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer log.Close()
	defer close(c.done)

	cmd := exec.Command(c.Spec.Path, c.Spec.Args...)
	cmd.Env, cmd.Dir = c.Spec.Env, c.Spec.Dir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	err := cmd.Start()
	if err == nil {
		c.Identity, err = Identify(cmd.Process.Pid)
	}
	started <- err
	if cmd.Process == nil {
		return
	}
	if c.err = cmd.Wait(); c.err == nil {
		c.err = fmt.Errorf("exit status 0")
	}
}

// stop asks the child to end and makes it end when the grace has passed.
func (c *Child) stop(grace time.Duration) {
	_ = c.Identity.SignalGroup(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(grace):
		_ = c.Identity.SignalGroup(syscall.SIGKILL)
		<-c.done
	}
}

// DiedError reports a child that ended before it was asked to.
type DiedError struct {
	Name string
	Log  string
	Tail []string
	Err  error
}

func (e *DiedError) Error() string {
	return fmt.Sprintf("%s died: %v; the end of %s:\n    %s", e.Name, e.Err, e.Log, strings.Join(e.Tail, "\n    "))
}

func (e *DiedError) Unwrap() error { return e.Err }

const (
	tailLines = 20
	tailBytes = 64 << 10
)

// tail returns the last lines of a log, read from its end: logs grow large.
func tail(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return []string{err.Error()}
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return []string{err.Error()}
	}
	raw := make([]byte, min(info.Size(), tailBytes))
	n, _ := f.ReadAt(raw, info.Size()-int64(len(raw)))
	lines := strings.Split(strings.TrimRight(string(raw[:n]), "\n"), "\n")
	return lines[max(0, len(lines)-tailLines):]
}

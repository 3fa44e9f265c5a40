package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/gitseal/gitseal/test/sandbox/state"
)

const pollInterval = 50 * time.Millisecond

// detach runs this program again in the background, passes on what it reports,
// and returns when the sandbox is ready.
func detach(ctx context.Context, o upOptions, out io.Writer) error {
	path := filepath.Join(o.dir, "sandbox.log")
	log, err := os.Create(path)
	if err != nil {
		return err
	}
	defer log.Close()
	report, err := os.Open(path)
	if err != nil {
		return err
	}
	defer report.Close()

	cmd, err := background(o, log)
	if err != nil {
		return err
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	return follow(ctx, &follower{dir: o.dir, cmd: cmd, exited: exited, report: report, out: out})
}

// background starts the copy in a session of its own, out of reach of the
// terminal's signals.
func background(o upOptions, log *os.File) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "up", "--dir", o.dir, "--assets", o.assets, "--basic-auth", o.basicAuth)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, cmd.Start()
}

// follower watches a copy in the background until it is ready.
type follower struct {
	dir    string
	cmd    *exec.Cmd
	exited <-chan error
	report io.Reader
	out    io.Writer
}

func follow(ctx context.Context, f *follower) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		// Asked before the copying, so that the last line is passed on as well.
		ready := f.ready()
		if _, err := io.Copy(f.out, f.report); err != nil {
			return err
		}
		if ready {
			return nil
		}
		select {
		case err := <-f.exited:
			_, copyErr := io.Copy(f.out, f.report)
			return errors.Join(fmt.Errorf("the sandbox ended before it was ready: %w", err), copyErr)
		case <-ctx.Done():
			_ = f.cmd.Process.Signal(syscall.SIGTERM)
			<-f.exited
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (f *follower) ready() bool {
	s, err := state.Read(f.dir)
	return err == nil && s != nil && s.Ready && s.Supervisor.PID == f.cmd.Process.Pid
}

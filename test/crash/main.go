// Command crash stops the operator at every one of its effects and looks
// whether it converges: for each scenario, each counted call and each mode of
// failure it runs the story, lets the fault happen there, lets a fresh operator
// go on, and compares with a run without faults. The operator runs in this
// process, behind the seam that counts, against a real control plane and with
// exactly the rights that config/default gives it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := enumerate(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1) //nolint:gocritic // nothing is left to clean up
	}
}

func enumerate(ctx context.Context) (err error) {
	var s selection
	var out string
	flag.StringVar(&s.Scenario, "scenario", "", "only these scenarios, separated by commas")
	flag.IntVar(&s.K, "k", 0, "only the fault at this call, as the summary numbers them")
	flag.StringVar((*string)(&s.Mode), "mode", "", "only this mode: before, after, error or timeout")
	flag.IntVar(&s.Sample, "sample", 0, "single faults to draw for each scenario; 0 is all")
	flag.IntVar(&s.Double, "double", 20, "double faults to try for each scenario")
	flag.IntVar(&s.Storms, "storms", 3, "storms and late watches to try for each scenario")
	flag.Uint64Var(&s.Seed, "seed", rand.Uint64()>>40, "seed of what is drawn") // it is printed
	flag.IntVar(&s.Parallel, "parallel", 3, "cells at once")
	flag.StringVar(&out, "out", "", "file for the results as JSON")
	flag.Parse()
	w, done, err := begin(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	r, err := w.enumerate(ctx, s, os.Stderr)
	if err != nil {
		return err
	}
	r.print(os.Stdout)
	if out != "" {
		raw, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return err
		}
		if err := os.WriteFile(out, append(raw, '\n'), 0o644); err != nil {
			return err
		}
	}
	return r.verdict()
}

// begin starts a world in a directory of its own, which is also where the
// operators' temporary files go.
func begin(ctx context.Context) (w *world, done func() error, err error) {
	dir, err := os.MkdirTemp("", "gitseal-crash-")
	if err != nil {
		return nil, nil, err
	}
	temp := filepath.Join(dir, "tmp")
	if err := errors.Join(os.Mkdir(temp, 0o700), os.Unsetenv("KUBECONFIG")); err != nil {
		return nil, nil, err
	}
	klog.SetLogger(logr.Discard()) // of the operators that are killed: what they log themselves is kept by cell
	w, err = newWorld(ctx, dir)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := os.Setenv("TMPDIR", temp); err != nil {
		return nil, nil, err
	}
	return w, func() error { return errors.Join(w.close(), os.RemoveAll(dir)) }, nil
}

// Sandbox runs a real Kubernetes control plane and a Git server on this machine
// for the demo, the end-to-end tests and the benchmarks. It must not contain
// anything of gitseal itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/gitseal/gitseal/test/sandbox/githttp"
	"github.com/gitseal/gitseal/test/sandbox/state"
)

const usage = `usage:
  sandbox up --dir DIR [--assets DIR] [--basic-auth USER:PASSWORD] [--detach]
  sandbox down --dir DIR
  sandbox repo --dir DIR NAME
  sandbox halt --dir DIR PROGRAM
  sandbox resume --dir DIR PROGRAM
`

// errUsage says that the arguments made no sense; the usage has been printed.
var errUsage = errors.New("usage")

const usageStatus = 2

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	// The second signal ends the program at once; its children go with it.
	context.AfterFunc(ctx, stop)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	if errors.Is(err, errUsage) {
		os.Exit(usageStatus)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out, diagnostics io.Writer) error {
	verbs := map[string]func(context.Context, []string, io.Writer, io.Writer) error{
		"up": runUp, "down": runDown, "repo": runRepo, "halt": runHalt, "resume": runResume,
	}
	if len(args) == 0 || verbs[args[0]] == nil {
		fmt.Fprint(diagnostics, usage)
		return errUsage
	}
	return verbs[args[0]](ctx, args[1:], out, diagnostics)
}

// newFlags returns the flags of a verb, with the one that all verbs have.
func newFlags(verb string, diagnostics io.Writer) (*flag.FlagSet, *string) {
	flags := flag.NewFlagSet(verb, flag.ContinueOnError)
	flags.SetOutput(diagnostics)
	flags.Usage = func() { fmt.Fprint(diagnostics, usage) }
	return flags, flags.String("dir", "", "directory of the sandbox")
}

// parse returns the absolute directory; the rest is in the flag set.
func parse(flags *flag.FlagSet, dir *string, args []string) (string, error) {
	if err := flags.Parse(args); err != nil {
		return "", errUsage
	}
	if *dir == "" {
		fmt.Fprintf(flags.Output(), "sandbox %s: --dir is missing\n", flags.Name())
		return "", errUsage
	}
	return filepath.Abs(*dir)
}

func runRepo(ctx context.Context, args []string, out, diagnostics io.Writer) error {
	flags, dirFlag := newFlags("repo", diagnostics)
	dir, err := parse(flags, dirFlag, args)
	if err != nil {
		return err
	}
	if flags.NArg() != 1 {
		flags.Usage()
		return errUsage
	}
	root := repositories(dir)
	if err := githttp.Create(ctx, root, flags.Arg(0)); err != nil {
		return err
	}
	address := root
	if s, err := state.Read(dir); err == nil && s != nil && s.Git.URL != "" {
		address = s.Git.URL
	}
	fmt.Fprintf(out, "%s/%s.git\n", address, flags.Arg(0))
	return nil
}

func repositories(dir string) string { return filepath.Join(dir, "git") }

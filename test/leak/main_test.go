// Package leak lets secrets go through everything that the operator and the
// plugin do with them, well and badly, and then looks for the values wherever
// they must not be.
package leak

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/gitseal/gitseal/test/rig"
)

// The sandbox and the operator, at its highest verbosity, serve the package.
var (
	sandbox  *rig.Rig
	operator *rig.Operator
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "gitseal-leak-")
	if err != nil {
		return fail(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()
	if sandbox, err = rig.Start(ctx, dir); err != nil {
		return fail(err)
	}
	defer func() {
		if err := sandbox.Close(); err != nil {
			fail(err)
		}
	}()
	if operator, err = sandbox.StartOperator(ctx); err != nil {
		return fail(err)
	}
	defer func() { _ = operator.Stop() }()
	return m.Run()
}

func fail(err error) int {
	fmt.Fprintln(os.Stderr, err)
	return 1
}

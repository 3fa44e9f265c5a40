// Package leak lets secrets go through everything that the operator and the
// plugin do with them, well and badly, and then looks for the values wherever
// they must not be.
package leak

import (
	"os"
	"testing"

	"github.com/gitseal/gitseal/test/rig"
)

// The sandbox and the operator, at its highest verbosity, serve the package.
var (
	sandbox  *rig.Rig
	operator *rig.Operator
)

func TestMain(m *testing.M) {
	os.Exit(rig.Main(m, func(r *rig.Rig, o *rig.Operator) { sandbox, operator = r, o }))
}

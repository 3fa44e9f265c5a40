package kubectlplugin

import (
	"github.com/spf13/cobra"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// dryRun says how far a change goes.
type dryRun string

const (
	dryRunNone   dryRun = "none"
	dryRunClient dryRun = "client"
	dryRunServer dryRun = "server"
)

func addDryRunFlag(cmd *cobra.Command, d *dryRun) {
	*d = dryRunNone
	cmd.Flags().StringVar((*string)(d), "dry-run", string(dryRunNone),
		`"none", "client" (say what would be done) or "server" (let the cluster check it, change nothing).`)
	complete(cmd, "dry-run", fixed("none", "client", "server"))
}

func (d dryRun) check(cmd *cobra.Command) error {
	switch d {
	case dryRunNone, dryRunClient, dryRunServer:
		return nil
	}
	return usagef(cmd, "unknown value %q for --dry-run: use none, client or server", string(d))
}

// suffix follows what is reported as done.
func (d dryRun) suffix() string {
	switch d {
	case dryRunClient:
		return " (dry run)"
	case dryRunServer:
		return " (server dry run)"
	}
	return ""
}

// patch are the options of a patch that goes as far as d.
func (d dryRun) patch() []client.PatchOption {
	if d == dryRunServer {
		return []client.PatchOption{fieldOwner, client.DryRunAll}
	}
	return []client.PatchOption{fieldOwner}
}

package kubectlplugin

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// Exit codes; the help topic below is their documentation.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// errSilent ends a command with exitFailure after it has said everything.
var errSilent = errors.New("")

// usageError is a command line that cannot be carried out as written.
type usageError struct {
	error
	command string
}

func (e *usageError) Unwrap() error { return e.error }

func (e *usageError) hint() string {
	if e.command == "" {
		return "see 'kubectl gitseal --help'"
	}
	return fmt.Sprintf("see '%s --help'", e.command)
}

// usagef is a usage error of the command given.
func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &usageError{error: fmt.Errorf(format, args...), command: cmd.CommandPath()}
}

// arguments is how many arguments a verb takes; max < 0 means any number.
func arguments(minimum, maximum int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < minimum:
			return usagef(cmd, "%d arguments given, at least %d needed", len(args), minimum)
		case maximum >= 0 && len(args) > maximum:
			return usagef(cmd, "%d arguments given, at most %d allowed", len(args), maximum)
		}
		return nil
	}
}

func newExitCodesTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "exit-codes",
		Short: "What the exit codes of kubectl gitseal mean",
		Long: `Exit codes:

  0  done. 'status': the Application is Ready at its latest generation.
     'sync --wait': the sync was carried out and the Application is Ready.
     'confirm --wait': what was confirmed is done and the Application is Ready.
  1  failed; stderr says why after "error:" and what to do after "hint:".
     'status': the Application is not Ready, or could not be read.
     'sync --wait': the sync failed, or was not over within --timeout.
     'confirm': nothing waits for a confirmation; with --wait, as for sync.
     'encrypt' and 'decrypt': no file was changed, if one of them failed.
  2  the command line was not understood; nothing was done.

'get' and 'stores' exit with 0 also when they find nothing, as kubectl does.`,
	}
}

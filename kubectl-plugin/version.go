package kubectlplugin

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// clientVersion is what this program was built from.
type clientVersion struct {
	Version   string `json:"version"`
	Commit    string `json:"commit,omitempty"`
	Modified  bool   `json:"modified,omitempty"`
	BuiltWith string `json:"builtWith"`
	Platform  string `json:"platform"`
}

type versionOptions struct {
	*session
	output string
	info   clientVersion
}

func newVersionCommand(s *session) *cobra.Command {
	o := &versionOptions{session: s}
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version of this plugin",
		Args:  arguments(0, 0),
		RunE:  runE(o),
	}
	addDocumentFlag(cmd, &o.output)
	return cmd
}

func (o *versionOptions) Complete(cmd *cobra.Command, _ []string) error {
	o.info = readVersion()
	return checkDocumentFormat(cmd, o.output)
}

func (o *versionOptions) Run(context.Context) error {
	if o.output != "" {
		return o.printDocument(o.output, o.info)
	}
	fmt.Fprintf(o.Out, "gitseal %s (%s, %s)\n", o.info.Version, o.info.BuiltWith, o.info.Platform)
	return nil
}

// readVersion reads what the Go linker recorded: the tag or pseudo-version of
// the main module and the commit.
func readVersion() clientVersion {
	v := clientVersion{Version: "(devel)", BuiltWith: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" {
		v.Version = info.Main.Version
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			v.Commit = setting.Value
		case "vcs.modified":
			v.Modified = setting.Value == "true"
		}
	}
	return v
}

// Command kubectl-gitseal is the kubectl plugin of gitseal: `kubectl gitseal`.
package main

import (
	"os"

	kubectlplugin "github.com/gitseal/gitseal/kubectl-plugin"
)

func main() { os.Exit(kubectlplugin.Main()) }

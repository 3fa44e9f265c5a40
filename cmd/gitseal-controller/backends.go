package main

import (
	"fmt"

	"k8s.io/client-go/rest"

	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/aws"
	"github.com/gitseal/gitseal/providers/fake"
	"github.com/gitseal/gitseal/providers/file"
	"github.com/gitseal/gitseal/providers/gcp"
	"github.com/gitseal/gitseal/providers/kubernetes"
	"github.com/gitseal/gitseal/providers/plugin"
	"github.com/gitseal/gitseal/providers/vault"
)

// backends are all that a store can name, by the field of spec.provider.
// Adding one: docs/adding-a-provider.md.
func backends(cluster *rest.Config, files, plugins string) (providers.Registry, error) {
	home, err := homeOf(cluster)
	if err != nil {
		return nil, err
	}
	return providers.Registry{
		"aws":        aws.Backend(),
		"gcpsm":      gcp.Backend(),
		"kubernetes": kubernetes.Backend(home),
		"vault":      vault.Backend(),
		"fake":       fake.Backend(),
		"file":       file.Backend(files),
		"plugin":     plugin.Backend(plugins),
	}, nil
}

// homeOf takes address and authorities from the operator's own configuration,
// and nothing of its identity.
func homeOf(cluster *rest.Config) (kubernetes.Home, error) {
	url, _, err := rest.DefaultServerUrlFor(cluster)
	if err != nil {
		return kubernetes.Home{}, fmt.Errorf("find the address of the cluster: %w", err)
	}
	read := rest.CopyConfig(cluster)
	if err := rest.LoadTLSFiles(read); err != nil {
		return kubernetes.Home{}, fmt.Errorf("read the authorities of the cluster: %w", err)
	}
	return kubernetes.Home{URL: url.String(), CA: read.CAData}, nil
}

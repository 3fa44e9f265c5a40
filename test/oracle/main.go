// Command oracle says what External Secrets Operator makes of an ExternalSecret,
// with its own code at v0.20.4: its providers read from the values that a case
// gives, its rewrites, conversions, decoders and templates do the rest. It
// reads a JSON array of cases from stdin and writes one of answers to stdout.
//
// What is ours in here is what its reconciler does around these: the order of
// calls, and the defaults that the API server would fill in.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
)

// Case is an ExternalSecret and what there is beside it.
type Case struct {
	// Manifest is the ExternalSecret, in YAML. Its stores are named aws, vault
	// and kubernetes, after the provider.
	Manifest string `json:"manifest"`
	// Objects are ConfigMaps and Secrets in the cluster, in YAML.
	Objects []string `json:"objects,omitempty"`
	// Values are what each store holds, by key. Those of vault are JSON objects,
	// those of kubernetes and aws-tags JSON objects of text.
	Values map[string]map[string]string `json:"values,omitempty"`
}

// Answer is the Secret that is made of it, or why there is none.
type Answer struct {
	Data        map[string][]byte `json:"data,omitempty"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Type        string            `json:"type,omitempty"`
	Error       string            `json:"error,omitempty"`
}

func main() {
	if err := run(context.Background(), os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, in io.Reader, out io.Writer) error {
	config, err := useKubeconfig()
	defer func() { _ = os.Remove(config) }()
	if err != nil {
		return err
	}
	var cases []Case
	if err := json.NewDecoder(in).Decode(&cases); err != nil {
		return fmt.Errorf("read cases: %w", err)
	}
	answers := make([]Answer, len(cases))
	for i, c := range cases {
		secret, err := materialize(ctx, c)
		if err != nil {
			answers[i] = Answer{Error: err.Error()}
			continue
		}
		answers[i] = Answer{
			Data: secret.Data, Labels: secret.Labels, Annotations: secret.Annotations, Type: string(secret.Type),
		}
	}
	return json.NewEncoder(out).Encode(answers)
}

func materialize(ctx context.Context, c Case) (secret *corev1.Secret, err error) {
	var es esv1.ExternalSecret
	if err := yaml.UnmarshalStrict([]byte(c.Manifest), &es); err != nil {
		return nil, fmt.Errorf("parse the manifest: %w", err)
	}
	fillDefaults(&es.Spec)
	cluster, err := newCluster(c.Objects)
	if err != nil {
		return nil, err
	}
	stores, err := openStores(ctx, c.Values)
	if err != nil {
		return nil, err
	}
	defer stores.close()
	data, err := collect(ctx, &es, stores)
	if err != nil {
		return nil, err
	}
	return build(ctx, &es, cluster, data)
}

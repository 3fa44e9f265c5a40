package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	vaultapi "github.com/hashicorp/vault/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	"github.com/external-secrets/external-secrets/pkg/provider/aws/secretsmanager"
	"github.com/external-secrets/external-secrets/pkg/provider/fake"
	"github.com/external-secrets/external-secrets/pkg/provider/vault"
	vaultutil "github.com/external-secrets/external-secrets/pkg/provider/vault/util"
)

// stores are External Secrets' own clients, each over the values of a case.
type stores struct {
	clients map[string]esv1.SecretsClient
	server  io.Closer
}

func openStores(ctx context.Context, values map[string]map[string]string) (*stores, error) {
	s := &stores{clients: map[string]esv1.SecretsClient{}}
	var err error
	if s.clients["aws"], err = openAWS(ctx, values["aws"], values["aws-tags"]); err != nil {
		return nil, err
	}
	if s.clients["fake"], err = openFake(ctx, values["fake"]); err != nil {
		return nil, err
	}
	if s.clients["kubernetes"], s.server, err = openKubernetes(ctx, values["kubernetes"]); err != nil {
		return nil, err
	}
	if s.clients["vault"], err = openVault(ctx, values["vault"]); err != nil {
		s.close()
		return nil, err
	}
	return s, nil
}

func (s *stores) close() {
	if s.server != nil {
		_ = s.server.Close()
	}
}

func (s *stores) client(name string) (esv1.SecretsClient, error) {
	if c, ok := s.clients[name]; ok {
		return c, nil
	}
	return nil, fmt.Errorf("there is no store %q: use aws, vault, kubernetes or fake", name)
}

// answering answers the requests of the AWS SDK by itself.
type answering struct{ values, tags map[string]string }

func openAWS(ctx context.Context, values, tags map[string]string) (esv1.SecretsClient, error) {
	config := &aws.Config{
		Region: "eu-central-1", HTTPClient: answering{values, tags}, RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "oracle", SecretAccessKey: "oracle"}, nil
		}),
	}
	return secretsmanager.New(ctx, config, nil, "", false, nil, "oracle")
}

// Do knows GetSecretValue, DescribeSecret and ListSecrets of the protocol JSON
// 1.1.
func (a answering) Do(r *http.Request) (*http.Response, error) {
	var in struct{ SecretId string } //nolint:revive // the name is AWS's
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return nil, err
	}
	status, out := http.StatusOK, map[string]any{}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	value, known := a.values[in.SecretId]
	switch {
	case operation == "DescribeSecret":
		tags, err := tagList(a.tags[in.SecretId])
		if err != nil {
			return nil, err
		}
		out = map[string]any{"Name": in.SecretId, "Tags": tags}
	case operation == "ListSecrets":
		list := []any{}
		for _, name := range slices.Sorted(maps.Keys(a.values)) {
			list = append(list, map[string]any{"Name": name})
		}
		out["SecretList"] = list
	case operation == "GetSecretValue" && known:
		out = map[string]any{"Name": in.SecretId, "SecretString": value}
	default:
		status, out["__type"] = http.StatusBadRequest, "ResourceNotFoundException"
	}
	body, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	return &http.Response{
		StatusCode: status, Request: r, Body: io.NopCloser(bytes.NewReader(body)),
		Header: http.Header{"Content-Type": {"application/x-amz-json-1.1"}},
	}, nil
}

// tagList makes AWS' list of a JSON object.
func tagList(text string) ([]any, error) {
	var tags map[string]string
	if err := json.Unmarshal([]byte(text), &tags); err != nil {
		return nil, fmt.Errorf("tags are no JSON object of text: %w", err)
	}
	list := []any{}
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, map[string]any{"Key": key, "Value": tags[key]})
	}
	return list, nil
}

// openFake takes what stands behind an @ in the name of a value for its version.
func openFake(ctx context.Context, values map[string]string) (esv1.SecretsClient, error) {
	spec := &esv1.FakeProvider{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		key, version, _ := strings.Cut(name, "@")
		spec.Data = append(spec.Data, esv1.FakeProviderData{Key: key, Version: version, Value: values[name]})
	}
	store := &esv1.SecretStore{Spec: esv1.SecretStoreSpec{Provider: &esv1.SecretStoreProvider{Fake: spec}}}
	var none client.Client
	return new(fake.Provider).NewClient(ctx, store, none, "oracle")
}

// logical is the part of a Vault's API that reads.
type logical struct {
	vaultutil.Logical
	values map[string]string
}

func openVault(ctx context.Context, values map[string]string) (esv1.SecretsClient, error) {
	mount := "kv"
	provider := &vault.Provider{NewVaultClient: func(*vaultapi.Config) (vaultutil.Client, error) {
		return vaultutil.VaultClient{LogicalField: logical{values: values}}, nil
	}}
	store := &esv1.SecretStore{Spec: esv1.SecretStoreSpec{Provider: &esv1.SecretStoreProvider{
		Vault: &esv1.VaultProvider{Server: "http://127.0.0.1", Path: &mount, Version: esv1.VaultKVStoreV2},
	}}}
	store.Kind = esv1.SecretStoreKind
	var none client.Client
	return provider.NewClient(ctx, store, none, "oracle")
}

func (l logical) ReadWithDataWithContext(_ context.Context, path string, _ map[string][]string) (*vaultapi.Secret, error) {
	value, ok := l.values[strings.TrimPrefix(path, "kv/data/")]
	if !ok {
		return nil, nil
	}
	// As the client of Vault reads answers: with the digits of numbers.
	return vaultapi.ParseSecret(strings.NewReader(`{"data":{"data":` + value + `}}`))
}

func (l logical) ListWithContext(context.Context, string) (*vaultapi.Secret, error) {
	keys := []any{}
	for _, key := range slices.Sorted(maps.Keys(l.values)) {
		keys = append(keys, key)
	}
	return &vaultapi.Secret{Data: map[string]any{"keys": keys}}, nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	"github.com/external-secrets/external-secrets/pkg/controllers/templating"
	"github.com/external-secrets/external-secrets/pkg/esutils"
	"github.com/external-secrets/external-secrets/pkg/template"
)

// fillDefaults does what the schema of the CRD has the API server do.
func fillDefaults(spec *esv1.ExternalSecretSpec) {
	orElse(&spec.SecretStoreRef.Kind, "SecretStore")
	orElse(&spec.Target.CreationPolicy, esv1.CreatePolicyOwner)
	orElse(&spec.Target.DeletionPolicy, esv1.DeletionPolicyRetain)
	for i := range spec.Data {
		fillRef(&spec.Data[i].RemoteRef)
	}
	for i := range spec.DataFrom {
		from := &spec.DataFrom[i]
		if from.Extract != nil {
			fillRef(from.Extract)
		}
		if from.Find != nil {
			orElse(&from.Find.ConversionStrategy, esv1.ExternalSecretConversionDefault)
			orElse(&from.Find.DecodingStrategy, esv1.ExternalSecretDecodeNone)
		}
	}
	blueprint := spec.Target.Template
	if blueprint == nil {
		return
	}
	orElse(&blueprint.EngineVersion, esv1.TemplateEngineV2)
	orElse(&blueprint.MergePolicy, esv1.MergePolicyReplace)
	for i := range blueprint.TemplateFrom {
		from := &blueprint.TemplateFrom[i]
		orElse(&from.Target, esv1.TemplateTargetData)
		for _, ref := range []*esv1.TemplateRef{from.ConfigMap, from.Secret} {
			for j := 0; ref != nil && j < len(ref.Items); j++ {
				orElse(&ref.Items[j].TemplateAs, esv1.TemplateScopeValues)
			}
		}
	}
}

func fillRef(ref *esv1.ExternalSecretDataRemoteRef) {
	orElse(&ref.ConversionStrategy, esv1.ExternalSecretConversionDefault)
	orElse(&ref.DecodingStrategy, esv1.ExternalSecretDecodeNone)
	orElse(&ref.MetadataPolicy, esv1.ExternalSecretMetadataPolicyNone)
}

func orElse[T comparable](field *T, fallback T) {
	var zero T
	if *field == zero {
		*field = fallback
	}
}

// collect reads all that spec.dataFrom and spec.data ask for.
func collect(ctx context.Context, es *esv1.ExternalSecret, stores *stores) (map[string][]byte, error) {
	keep := es.Spec.Target.DeletionPolicy != esv1.DeletionPolicyRetain
	all := map[string][]byte{}
	for i, from := range es.Spec.DataFrom {
		values, err := collectFrom(ctx, es, from, stores)
		if keep && errors.Is(err, esv1.NoSecretErr) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("spec.dataFrom[%d]: %w", i, err)
		}
		maps.Copy(all, values)
	}
	for i, entry := range es.Spec.Data {
		name := es.Spec.SecretStoreRef.Name
		if entry.SourceRef != nil {
			name = entry.SourceRef.SecretStoreRef.Name
		}
		value, err := collectEntry(ctx, stores, name, entry)
		if keep && errors.Is(err, esv1.NoSecretErr) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("spec.data[%d]: %w", i, err)
		}
		all[entry.SecretKey] = value
	}
	return all, nil
}

func collectEntry(ctx context.Context, stores *stores, store string, entry esv1.ExternalSecretData) ([]byte, error) {
	client, err := stores.client(store)
	if err != nil {
		return nil, err
	}
	value, err := client.GetSecret(ctx, entry.RemoteRef)
	if err != nil {
		return nil, err
	}
	return esutils.Decode(entry.RemoteRef.DecodingStrategy, value)
}

func collectFrom(ctx context.Context, es *esv1.ExternalSecret, from esv1.ExternalSecretDataFromRemoteRef, stores *stores) (map[string][]byte, error) {
	name := es.Spec.SecretStoreRef.Name
	if from.SourceRef != nil && from.SourceRef.SecretStoreRef != nil {
		name = from.SourceRef.SecretStoreRef.Name
	}
	client, err := stores.client(name)
	if err != nil {
		return nil, err
	}
	var (
		values     map[string][]byte
		conversion esv1.ExternalSecretConversionStrategy
		decoding   esv1.ExternalSecretDecodingStrategy
	)
	switch {
	case from.Find != nil:
		conversion, decoding = from.Find.ConversionStrategy, from.Find.DecodingStrategy
		values, err = client.GetAllSecrets(ctx, *from.Find)
	case from.Extract != nil:
		conversion, decoding = from.Extract.ConversionStrategy, from.Extract.DecodingStrategy
		values, err = client.GetSecretMap(ctx, *from.Extract)
	default:
		err = errors.New("neither extract nor find")
	}
	if err != nil {
		return nil, err
	}
	if values, err = esutils.RewriteMap(from.Rewrite, values); err != nil {
		return nil, err
	}
	if len(from.Rewrite) == 0 {
		if values, err = esutils.ConvertKeys(conversion, values); err != nil {
			return nil, err
		}
	}
	if err := esutils.ValidateKeys(logr.Discard(), values); err != nil {
		return nil, err
	}
	return esutils.DecodeMap(decoding, values)
}

// build makes the Secret of what was read.
func build(ctx context.Context, es *esv1.ExternalSecret, objects *cluster, data map[string][]byte) (*corev1.Secret, error) {
	secret := &corev1.Secret{Data: map[string][]byte{}}
	secret.Labels, secret.Annotations = map[string]string{}, map[string]string{}
	blueprint := es.Spec.Target.Template
	if blueprint == nil {
		maps.Copy(secret.Labels, es.Labels)
		maps.Copy(secret.Annotations, es.Annotations)
		maps.Copy(secret.Data, data)
		return secret, nil
	}
	maps.Copy(secret.Labels, blueprint.Metadata.Labels)
	maps.Copy(secret.Annotations, blueprint.Metadata.Annotations)
	secret.Type = blueprint.Type
	none := len(blueprint.Data) == 0 && len(blueprint.TemplateFrom) == 0
	if blueprint.MergePolicy == esv1.MergePolicyMerge || none {
		maps.Copy(secret.Data, data)
	}
	execute, err := template.EngineForVersion(blueprint.EngineVersion)
	if err != nil {
		return nil, err
	}
	parser := templating.Parser{Client: objects, TargetSecret: secret, DataMap: data, Exec: execute}
	if err := parser.MergeTemplateFrom(ctx, es.Namespace, blueprint); err != nil {
		return nil, err
	}
	for _, part := range []struct {
		texts  map[string]string
		target esv1.TemplateTarget
	}{
		{blueprint.Data, esv1.TemplateTargetData},
		{blueprint.Metadata.Labels, esv1.TemplateTargetLabels},
		{blueprint.Metadata.Annotations, esv1.TemplateTargetAnnotations},
	} {
		if err := parser.MergeMap(part.texts, part.target); err != nil {
			return nil, err
		}
	}
	return secret, nil
}

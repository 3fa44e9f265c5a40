package stores

import (
	"context"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/internal/store"
	"github.com/gitseal/gitseal/providers"
)

// objects reads what stores name, as the operator and past the cache, and
// the labels of namespaces, from a cache of metadata.
type objects struct {
	reader client.Reader
	cache  client.Client
}

// Read implements store.Objects.
func (o objects) Read(ctx context.Context, n store.Named) (store.Content, error) {
	switch n.Thing {
	case store.ThingSecret:
		return o.readSecret(ctx, n)
	case store.ThingConfigMap:
		return o.readConfigMap(ctx, n)
	case store.ThingServiceAccount:
	}
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ServiceAccount"))
	err := o.reader.Get(ctx, n.Key(), m)
	return store.Content{Version: m.ResourceVersion, Annotations: m.Annotations}, err
}

func (o objects) readSecret(ctx context.Context, n store.Named) (store.Content, error) {
	var s corev1.Secret
	if err := o.reader.Get(ctx, n.Key(), &s); err != nil {
		return store.Content{}, err
	}
	entries := map[string]secret.Value{}
	for key, value := range s.Data {
		entries[key] = secret.NewValue(value)
	}
	_, key := s.Annotations[v1alpha1.AnnotationAllowedNamespaces]
	return store.Content{Version: s.ResourceVersion, Entries: entries, Key: key}, nil
}

func (o objects) readConfigMap(ctx context.Context, n store.Named) (store.Content, error) {
	var m corev1.ConfigMap
	if err := o.reader.Get(ctx, n.Key(), &m); err != nil {
		return store.Content{}, err
	}
	entries := map[string]secret.Value{}
	for key, value := range m.Data {
		entries[key] = secret.NewValue([]byte(value))
	}
	for key, value := range m.BinaryData {
		entries[key] = secret.NewValue(value)
	}
	return store.Content{Version: m.ResourceVersion, Entries: entries}, nil
}

// Token implements store.Objects.
func (o objects) Token(ctx context.Context, serviceAccount types.NamespacedName, audiences []string, expiry time.Duration) (providers.Token, error) {
	sa := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: serviceAccount.Namespace, Name: serviceAccount.Name}}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: audiences, ExpirationSeconds: ptr.To(int64(expiry.Seconds())),
	}}
	if err := o.cache.SubResource("token").Create(ctx, sa, request); err != nil {
		return providers.Token{}, err
	}
	return providers.Token{Value: secret.NewValue([]byte(request.Status.Token)), Expires: request.Status.ExpirationTimestamp.Time}, nil
}

// Labels implements store.Namespaces. The cache begins with the first store
// that selects namespaces by label.
func (o objects) Labels(ctx context.Context, namespace string) (map[string]string, error) {
	m := &metav1.PartialObjectMetadata{}
	m.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := o.cache.Get(ctx, types.NamespacedName{Name: namespace}, m); err != nil {
		return nil, err
	}
	return m.Labels, nil
}

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	esmeta "github.com/external-secrets/external-secrets/apis/meta/v1"
	"github.com/external-secrets/external-secrets/pkg/provider/kubernetes"
)

// cluster is a client that gets the ConfigMaps and Secrets of a case.
type cluster struct {
	client.Client
	configMaps map[string]corev1.ConfigMap
	secrets    map[string]corev1.Secret
}

func newCluster(objects []string) (*cluster, error) {
	c := &cluster{configMaps: map[string]corev1.ConfigMap{}, secrets: map[string]corev1.Secret{}}
	for _, text := range objects {
		var kind metav1.PartialObjectMetadata
		if err := yaml.Unmarshal([]byte(text), &kind); err != nil {
			return nil, fmt.Errorf("parse an object: %w", err)
		}
		switch kind.Kind {
		case "ConfigMap":
			var o corev1.ConfigMap
			if err := yaml.UnmarshalStrict([]byte(text), &o); err != nil {
				return nil, fmt.Errorf("parse ConfigMap %q: %w", kind.Name, err)
			}
			c.configMaps[kind.Name] = o
		case "Secret":
			var o corev1.Secret
			if err := yaml.UnmarshalStrict([]byte(text), &o); err != nil {
				return nil, fmt.Errorf("parse Secret %q: %w", kind.Name, err)
			}
			c.secrets[kind.Name] = stored(o)
		default:
			return nil, fmt.Errorf("objects of kind %q are not known", kind.Kind)
		}
	}
	return c, nil
}

// stored is what the API server makes of a Secret: it folds stringData in.
func stored(o corev1.Secret) corev1.Secret {
	if o.Data == nil {
		o.Data = map[string][]byte{}
	}
	for key, text := range o.StringData {
		o.Data[key] = []byte(text)
	}
	o.StringData = nil
	return o
}

func (c *cluster) Get(_ context.Context, key client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	switch o := into.(type) {
	case *corev1.ConfigMap:
		if found, ok := c.configMaps[key.Name]; ok {
			*o = found
			return nil
		}
	case *corev1.Secret:
		if found, ok := c.secrets[key.Name]; ok {
			*o = found
			return nil
		}
	}
	return fmt.Errorf("%T %q is not there", into, key.Name)
}

// openKubernetes starts an API server that has Secrets only, and a client of it.
func openKubernetes(ctx context.Context, values map[string]string) (esv1.SecretsClient, io.Closer, error) {
	secrets, err := remoteSecrets(values)
	if err != nil {
		return nil, nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{Handler: secrets, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	url := "http://" + listener.Addr().String()
	store := &esv1.SecretStore{Spec: esv1.SecretStoreSpec{Provider: &esv1.SecretStoreProvider{
		Kubernetes: &esv1.KubernetesProvider{
			Server: esv1.KubernetesServer{URL: url}, RemoteNamespace: "remote",
			Auth: &esv1.KubernetesAuth{Token: &esv1.TokenAuth{BearerToken: esmeta.SecretKeySelector{Name: "token", Key: "token"}}},
		},
	}}}
	store.Kind = esv1.SecretStoreKind
	token := &cluster{secrets: map[string]corev1.Secret{"token": {Data: map[string][]byte{"token": []byte("oracle")}}}}
	c, err := (&kubernetes.Provider{}).NewClient(ctx, store, token, "oracle")
	if err != nil {
		_ = server.Close()
		return nil, nil, err
	}
	return c, server, nil
}

// remote are the Secrets of the other cluster.
type remote map[string]corev1.Secret

func remoteSecrets(values map[string]string) (remote, error) {
	secrets := remote{}
	for name, text := range values {
		var entries map[string]string
		if err := json.Unmarshal([]byte(text), &entries); err != nil {
			return nil, fmt.Errorf("value %q of the store kubernetes: %w", name, err)
		}
		o := corev1.Secret{StringData: entries}
		o.APIVersion, o.Kind, o.Name, o.Namespace = "v1", "Secret", name, "remote"
		secrets[name] = stored(o)
	}
	return secrets, nil
}

func (s remote) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	var out any
	switch secret, ok := s[path.Base(r.URL.Path)]; {
	case ok:
		out = secret
	case path.Base(r.URL.Path) == "secrets":
		list := corev1.SecretList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "SecretList"}}
		for _, name := range slices.Sorted(maps.Keys(s)) {
			list.Items = append(list.Items, s[name])
		}
		out = list
	default:
		w.WriteHeader(http.StatusNotFound)
		out = metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
			Reason: metav1.StatusReasonNotFound, Code: http.StatusNotFound,
		}
	}
	_ = json.NewEncoder(w).Encode(out)
}

// External Secrets asks for a kubeconfig before it asks for anything else. No
// request goes there.
const kubeconfig = `apiVersion: v1
kind: Config
clusters: [{name: none, cluster: {server: "http://127.0.0.1:1"}}]
contexts: [{name: none, context: {cluster: none, user: none}}]
current-context: none
users: [{name: none, user: {}}]
`

// useKubeconfig writes it where External Secrets looks. The caller removes it.
func useKubeconfig() (string, error) {
	file, err := os.CreateTemp("", "oracle")
	if err != nil {
		return "", err
	}
	_, err = file.WriteString(kubeconfig)
	if closed := file.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return file.Name(), err
	}
	return file.Name(), os.Setenv("KUBECONFIG", file.Name())
}

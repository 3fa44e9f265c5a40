package kubectlplugin

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

type storesOptions struct{ listing }

func newStoresCommand(s *session) *cobra.Command {
	o := &storesOptions{newListing(s, "SecretStore")}
	cmd := &cobra.Command{
		Use:   "stores [[KIND/]NAME]",
		Short: "List SecretStores: ready, identity, calls, last error",
		Long: `List the SecretStores of a namespace and the ClusterSecretStores, with what the
operator found: whether the provider lets it in and as whom, how often it was
called since the operator started, and the last error. KIND is secretstore, the
default, or clustersecretstore.`,
		Example: `  kubectl gitseal stores -n shop
  kubectl gitseal stores -A -o wide
  kubectl gitseal stores clustersecretstore/vault -o yaml`,
		Args:              arguments(0, 1),
		RunE:              runE(o),
		ValidArgsFunction: s.completeStore,
	}
	o.addFlags(cmd)
	return cmd
}

// storeObject is a SecretStore or a ClusterSecretStore.
type storeObject struct {
	object client.Object
	kind   v1alpha1.StoreKind
	spec   *v1alpha1.SecretStoreSpec
	status *v1alpha1.SecretStoreStatus
}

func secretStore(s *v1alpha1.SecretStore) storeObject {
	s.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(string(v1alpha1.KindSecretStore)))
	return storeObject{s, v1alpha1.KindSecretStore, &s.Spec, &s.Status}
}

func clusterSecretStore(s *v1alpha1.ClusterSecretStore) storeObject {
	s.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(string(v1alpha1.KindClusterSecretStore)))
	return storeObject{s, v1alpha1.KindClusterSecretStore, &s.Spec, &s.Status}
}

// Run implements verb.
func (o *storesOptions) Run(ctx context.Context) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	if o.name != "" {
		found, err := getStore(ctx, c, o.namespace, o.name)
		if err != nil {
			return err
		}
		return o.writeAll(found.object, []storeObject{found})
	}
	stores, err := o.list(ctx, c)
	if err != nil {
		return err
	}
	list := &corev1.List{}
	for _, s := range stores {
		list.Items = append(list.Items, runtime.RawExtension{Object: s.object})
	}
	return o.writeAll(list, stores)
}

// cutStore takes [KIND/]NAME apart; the kind as storeName writes it.
func cutStore(word string) (kind, name string) {
	kind, name, given := strings.Cut(word, "/")
	if !given {
		kind, name = string(v1alpha1.KindSecretStore), word
	}
	return strings.TrimSuffix(strings.ToLower(kind), "s"), name
}

// getStore reads the store that a word names: [KIND/]NAME.
func getStore(ctx context.Context, c client.Client, namespace, word string) (storeObject, error) {
	kind, name := cutStore(word)
	var s storeObject
	switch kind {
	case "secretstore":
		s = secretStore(&v1alpha1.SecretStore{})
	case "clustersecretstore":
		s, namespace = clusterSecretStore(&v1alpha1.ClusterSecretStore{}), ""
	default:
		return s, withHint(fmt.Errorf("unknown kind of store %q", kind), "use secretstore/NAME or clustersecretstore/NAME")
	}
	err := c.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, s.object)
	s.object.GetObjectKind().SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(string(s.kind)))
	if err == nil {
		return s, nil
	}
	err = fmt.Errorf("read %s %q: %w", s.kind, name, err)
	if apierrors.IsNotFound(err) && apiHint(err) == "" {
		return s, withHint(err, "'kubectl gitseal stores -A' lists them all")
	}
	return s, err
}

// list reads both kinds. Who may not see the cluster's own is told so.
func (o *storesOptions) list(ctx context.Context, c client.Client) ([]storeObject, error) {
	own, cluster := &v1alpha1.SecretStoreList{}, &v1alpha1.ClusterSecretStoreList{}
	if err := c.List(ctx, own, o.selected()...); err != nil {
		return nil, fmt.Errorf("list SecretStores: %w", err)
	}
	err := c.List(ctx, cluster, client.MatchingLabelsSelector{Selector: o.labels})
	switch {
	case apierrors.IsForbidden(err):
		o.warnf("ClusterSecretStores are left out: you may not list them")
	case err != nil:
		return nil, fmt.Errorf("list ClusterSecretStores: %w", err)
	}
	var stores []storeObject
	for i := range own.Items {
		stores = append(stores, secretStore(&own.Items[i]))
	}
	for i := range cluster.Items {
		stores = append(stores, clusterSecretStore(&cluster.Items[i]))
	}
	return stores, nil
}

func (o *storesOptions) writeAll(obj runtime.Object, stores []storeObject) error {
	var items []client.Object
	for _, s := range stores {
		items = append(items, s.object)
	}
	return o.write(obj, items, func() error { return o.writeTable(stores) })
}

func (o *storesOptions) writeTable(stores []storeObject) error {
	headings := o.headings("NAME", "PROVIDER", "READY", "REASON", "LOGINS", "READS", "THROTTLED", "FAILED", "IDENTITY", "AGE")
	if o.wide {
		headings = append(headings, "VALUES", "LAST ERROR", "MESSAGE")
	}
	t := o.newTable(headings...)
	for _, s := range stores {
		t.row(o.row(s)...)
	}
	return t.flush()
}

func (o *storesOptions) row(s storeObject) []string {
	ready, calls := readyOf(s.status.Conditions), v1alpha1.StoreCalls{}
	if s.status.Calls != nil {
		calls = *s.status.Calls
	}
	cells := o.cells(orNone(s.object.GetNamespace()),
		strings.ToLower(string(s.kind))+"/"+s.object.GetName(), orNone(s.status.Provider), string(ready.Status), orNone(ready.Reason),
		fmt.Sprint(calls.Logins), fmt.Sprint(calls.Reads), fmt.Sprint(calls.Throttled), fmt.Sprint(calls.Failed),
		orNone(s.status.Identity), o.age(s.object.GetCreationTimestamp()))
	if !o.wide {
		return cells
	}
	last := orNone("")
	if e := s.status.LastError; e != nil {
		last = fmt.Sprintf("%s (%s ago)", e.Message, o.age(e.At))
	}
	return append(cells, fmt.Sprint(calls.Values), last, ready.Message)
}

// completeStore completes the only argument of a verb about stores.
func (s *session) completeStore(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	namespace, err := s.namespace()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := s.names(cmd.Context(), v1alpha1.GroupVersion.WithKind("SecretStoreList"), client.InNamespace(namespace))
	for _, name := range s.names(cmd.Context(), v1alpha1.GroupVersion.WithKind("ClusterSecretStoreList")) {
		names = append(names, "clustersecretstore/"+name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

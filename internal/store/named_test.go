package store_test

import (
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/store"
)

// fill sets everything in a part of a spec, and returns how many fields say in
// which namespace something stands. Each of those belongs to a selector.
func fill(v reflect.Value) int {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		return fill(v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		return fill(v.Index(0))
	case reflect.String:
		v.SetString("x")
	case reflect.Struct:
		n := 0
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.Name == "Namespace" && f.Type == reflect.TypeFor[*string]() && !vaultNamespace(v.Type()) {
				n++
				v.Field(i).Set(reflect.ValueOf(ptr.To("home")))
				continue
			}
			n += fill(v.Field(i))
		}
		return n
	}
	return 0
}

// vaultNamespace: these are namespaces of Vault, not of Kubernetes.
func vaultNamespace(t reflect.Type) bool {
	return t == reflect.TypeFor[v1alpha1.VaultProvider]() || t == reflect.TypeFor[v1alpha1.VaultAuth]()
}

// Whatever a spec names is found, also in fields that are added one day: each
// selector in turn is refused where it names another namespace.
func TestEverySelectorOfASpecIsFound(t *testing.T) {
	var provider v1alpha1.StoreProvider
	want := fill(reflect.ValueOf(&provider).Elem())
	provider.Vault.CAProvider.Type, provider.Kubernetes.Server.CAProvider.Type = v1alpha1.CAFromSecret, v1alpha1.CAFromConfigMap
	s := store.Store{Kind: v1alpha1.KindSecretStore, Name: "s", Namespace: "home", Home: "home", Spec: v1alpha1.SecretStoreSpec{Provider: provider}}
	if _, err := s.Named(); err != nil {
		t.Fatalf("Named: %v", err)
	}
	refused := 0
	eachNamespace(reflect.ValueOf(&s.Spec.Provider).Elem(), func(ns reflect.Value) {
		ns.Set(reflect.ValueOf(ptr.To("kube-system")))
		if _, err := s.Named(); err == nil {
			t.Errorf("a selector of type %v may name another namespace", ns.Type())
		}
		ns.Set(reflect.ValueOf(ptr.To("home")))
		refused++
	})
	if refused != want || want < 20 {
		t.Errorf("%d selectors were tried, and there are %d", refused, want)
	}
}

func eachNamespace(v reflect.Value, try func(reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			eachNamespace(v.Elem(), try)
		}
	case reflect.Slice:
		for i := range v.Len() {
			eachNamespace(v.Index(i), try)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "Namespace" && v.Field(i).Type() == reflect.TypeFor[*string]() && !vaultNamespace(v.Type()) {
				try(v.Field(i))
				continue
			}
			eachNamespace(v.Field(i), try)
		}
	}
}

func TestNamedListsEachOnce(t *testing.T) {
	s := store.Store{Kind: v1alpha1.KindSecretStore, Name: "s", Namespace: "team", Home: "team"}
	s.Spec.Provider.AWS = &v1alpha1.AWSProvider{Auth: v1alpha1.AWSAuth{SecretRef: &v1alpha1.AWSAuthSecretRef{
		AccessKeyID: v1alpha1.SecretKeySelector{Name: "aws", Key: "id"}, SecretAccessKey: v1alpha1.SecretKeySelector{Name: "aws", Key: "key"},
	}}}
	got, err := s.Named()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]store.Named{{Thing: store.ThingSecret, Namespace: "team", Name: "aws"}}, got); diff != "" {
		t.Errorf("Named (-want +got):\n%s", diff)
	}
	s.Spec.Provider.AWS.Auth = v1alpha1.AWSAuth{JWT: &v1alpha1.AWSJWTAuth{ServiceAccountRef: v1alpha1.ServiceAccountSelector{Name: "irsa"}}}
	if got, err = s.Named(); err != nil || len(got) != 1 || !got[0].Annotated {
		t.Errorf("Named = %v, %v, want the ServiceAccount with its annotations", got, err)
	}
}

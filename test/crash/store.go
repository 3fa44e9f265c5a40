package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// values is the directory of a cell's file store. It lies beside what is
// searched for values.
func (c *cell) values() string { return filepath.Join(c.world.dir, "values", c.name) }

// value replaces a value of the store, at once.
func (c *cell) value(name, password string) error {
	text := fmt.Sprintf(`{"password":%q,"token":%q}`, password, password+"-token")
	if name == "other" {
		text = password
	}
	path := filepath.Join(c.values(), name)
	next := filepath.Join(c.values(), "."+name)
	if err := os.WriteFile(next, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// stock makes the store of a cell, where its scenario takes values from one.
func (c *cell) stock(ctx context.Context) error {
	if c.scenario.policy != v1alpha1.PolicyExternal {
		return nil
	}
	if err := os.MkdirAll(c.values(), 0o700); err != nil {
		return err
	}
	for name, value := range map[string]string{"db": canaryOne, "other": canaryOther} {
		if err := c.value(name, value); err != nil {
			return err
		}
	}
	store := &v1alpha1.ClusterSecretStore{ObjectMeta: metav1.ObjectMeta{Name: c.name}}
	store.Spec.Provider.File = &v1alpha1.FileProvider{}
	store.Spec.Access = []v1alpha1.StoreAccess{{Namespaces: []string{c.name}}}
	times, pause := int32(1), "10ms"
	store.Spec.RetrySettings = &v1alpha1.StoreRetrySettings{MaxRetries: &times, RetryInterval: &pause}
	return c.world.rig.Client.Create(ctx, store)
}

// unstock removes it: the operators of other cells would not see it, but the
// API server would keep it for them.
func (c *cell) unstock(ctx context.Context) {
	if c.scenario.policy == v1alpha1.PolicyExternal {
		store := &v1alpha1.ClusterSecretStore{ObjectMeta: metav1.ObjectMeta{Name: c.name}}
		_ = client.IgnoreNotFound(c.world.rig.Client.Delete(ctx, store)) // it goes with the sandbox otherwise
	}
}

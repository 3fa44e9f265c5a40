package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/test/rig"
)

// world is what all cells share: a sandbox with the operator's manifests on
// it, a key, the scenarios' files encrypted to it, and the observer.
type world struct {
	rig      *rig.Rig
	dir      string
	operator *rest.Config // as the operator's ServiceAccount
	rules    []rbacv1.PolicyRule
	key      map[string][]byte
	sealed   map[string]string // plain manifest to encrypted one
	observer *observer

	stop  context.CancelFunc
	cells atomic.Int64
}

// operatorSuffix ends the name of a cell's operator namespace.
const operatorSuffix = "-op"

func newWorld(ctx context.Context, dir string) (*world, error) {
	r, err := rig.Start(ctx, filepath.Join(dir, "sandbox"))
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	w := &world{rig: r, dir: dir, stop: stop, sealed: map[string]string{}}
	for _, prepare := range []func(context.Context) error{w.readRights, w.grant, w.encrypt, w.observe} {
		if err := prepare(ctx); err != nil {
			return nil, errors.Join(err, w.close())
		}
	}
	return w, nil
}

func (w *world) close() error {
	w.stop()
	return w.rig.Close()
}

func (w *world) observe(ctx context.Context) (err error) {
	w.observer, err = newObserver(ctx, w.rig.Client)
	return err
}

// readRights takes what config/ lets the operator do in its own namespace: each
// cell has an operator's namespace of its own.
func (w *world) readRights(ctx context.Context) (err error) {
	if w.operator, err = w.rig.OperatorConfig(ctx); err != nil {
		return err
	}
	w.operator.UserAgent = "gitseal-controller"
	var role rbacv1.Role
	name := client.ObjectKey{Namespace: v1alpha1.OperatorNamespace, Name: v1alpha1.OperatorServiceAccount}
	if err := w.rig.Client.Get(ctx, name, &role); err != nil {
		return fmt.Errorf("read the operator's role: %w", err)
	}
	w.rules = role.Rules
	return nil
}

// grant makes the role that the deployers of cells have on top of "edit".
func (w *world) grant(ctx context.Context) error {
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "crash-definitions"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"apiextensions.k8s.io"}, Resources: []string{"customresourcedefinitions"}, Verbs: []string{"*"}},
		{APIGroups: []string{"*"}, Resources: []string{"widgets"}, Verbs: []string{"*"}},
	}}
	return w.rig.Client.Create(ctx, role)
}

const keyName = "crash"

// encrypt makes a key and encrypts each manifest that scenarios want so.
func (w *world) encrypt(ctx context.Context) error {
	dir := filepath.Join(w.dir, "plain")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	recipient, stderr, err := w.rig.Gitseal(ctx, dir, nil, "keys", "init", keyName, "--for", "nobody")
	if err != nil {
		return fmt.Errorf("make a key: %w\n%s", err, stderr)
	}
	var s corev1.Secret
	if err := w.rig.Client.Get(ctx, client.ObjectKey{Namespace: v1alpha1.OperatorNamespace, Name: keyName}, &s); err != nil {
		return err
	}
	w.key = s.Data
	rules := "creation_rules:\n  - encrypted_regex: ^(data|stringData)$\n    age: " + strings.TrimSpace(recipient) + "\n"
	if err := os.WriteFile(filepath.Join(dir, ".sops.yaml"), []byte(rules), 0o600); err != nil {
		return err
	}
	for _, plain := range []string{secretOne, secretTwo} {
		path := filepath.Join(dir, "secret.yaml")
		if err := os.WriteFile(path, []byte(plain), 0o600); err != nil {
			return err
		}
		if _, stderr, err := w.rig.Gitseal(ctx, dir, nil, "encrypt", "-i", path); err != nil {
			return fmt.Errorf("encrypt: %w\n%s", err, stderr)
		}
		sealed, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		w.sealed[plain] = string(sealed)
	}
	return os.RemoveAll(dir)
}

// prepare makes the namespaces of a cell and lets deployer and operator in.
func (w *world) prepare(ctx context.Context, cell string) error {
	op := cell + operatorSuffix
	meta := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	operator := rbacv1.Subject{Kind: "ServiceAccount", Namespace: v1alpha1.OperatorNamespace, Name: v1alpha1.OperatorServiceAccount}
	deployer := rbacv1.Subject{Kind: "ServiceAccount", Namespace: cell, Name: "deployer"}
	role := func(kind, name string) rbacv1.RoleRef {
		return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
	}
	key := &corev1.Secret{ObjectMeta: meta(op, keyName), Data: w.key}
	key.Annotations = map[string]string{v1alpha1.AnnotationAllowedNamespaces: cell}
	for _, o := range []client.Object{
		&corev1.Namespace{ObjectMeta: meta("", cell)},
		&corev1.Namespace{ObjectMeta: meta("", op)},
		&corev1.ServiceAccount{ObjectMeta: meta(cell, "deployer")},
		&rbacv1.RoleBinding{ObjectMeta: meta(cell, "deployer"), RoleRef: role("ClusterRole", "edit"), Subjects: []rbacv1.Subject{deployer}},
		&rbacv1.ClusterRoleBinding{ObjectMeta: meta("", cell), RoleRef: role("ClusterRole", "crash-definitions"), Subjects: []rbacv1.Subject{deployer}},
		&rbacv1.Role{ObjectMeta: meta(cell, "gitseal-access"), Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{""}, Resources: []string{"serviceaccounts"}, ResourceNames: []string{"deployer"}, Verbs: []string{"impersonate"}},
		}},
		&rbacv1.RoleBinding{ObjectMeta: meta(cell, "gitseal-access"), RoleRef: role("Role", "gitseal-access"), Subjects: []rbacv1.Subject{operator}},
		&rbacv1.Role{ObjectMeta: meta(op, "gitseal-controller"), Rules: w.rules},
		&rbacv1.RoleBinding{ObjectMeta: meta(op, "gitseal-controller"), RoleRef: role("Role", "gitseal-controller"), Subjects: []rbacv1.Subject{operator}},
		key,
	} {
		if err := w.rig.Client.Create(ctx, o); err != nil {
			return fmt.Errorf("prepare %s: %w", cell, err)
		}
	}
	return errors.Join(
		w.awaitRight(ctx, operator, authorizationv1.ResourceAttributes{Namespace: op, Verb: "get", Resource: "secrets", Name: keyName}),
		w.awaitRight(ctx, operator, authorizationv1.ResourceAttributes{Namespace: cell, Verb: "impersonate", Resource: "serviceaccounts", Name: "deployer"}),
		w.awaitRight(ctx, deployer, authorizationv1.ResourceAttributes{Namespace: cell, Verb: "patch", Resource: "configmaps"}),
		w.awaitRight(ctx, deployer, authorizationv1.ResourceAttributes{Verb: "patch", Group: "apiextensions.k8s.io", Resource: "customresourcedefinitions"}),
	)
}

// awaitRight waits until the API server has heard of a right: an operator that
// is refused when it starts would not meet its fault.
func (w *world) awaitRight(ctx context.Context, who rbacv1.Subject, what authorizationv1.ResourceAttributes) error {
	for {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: live.Identity{Namespace: who.Namespace, ServiceAccount: who.Name}.User(), ResourceAttributes: &what,
		}}
		if err := w.rig.Client.Create(ctx, review); err != nil || review.Status.Allowed {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s may not %s %s: %w", who.Name, what.Verb, what.Resource, context.Cause(ctx))
		case <-time.After(tick):
		}
	}
}

package controllers

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/source"
)

// Fields that Applications are looked up by, so that nothing goes through all
// of them.
const (
	byDependency = "dependsOn"  // NAMESPACE/NAME
	byApplySet   = "applySet"   // the ID of its ApplySet
	byRepository = "repository" // as source.RepositoryKey has it
	byConflict   = "conflict"   // NAMESPACE/NAME that its status.conflicts name
	byCredential = "credential" // NAMESPACE/NAME of Secrets that it is read and decrypted with
)

var indexes = map[string]client.IndexerFunc{
	byDependency: func(o client.Object) []string {
		app := o.(*v1alpha1.Application)
		var names []string
		for _, d := range app.Spec.DependsOn {
			names = append(names, dependency(app, d).String())
		}
		return names
	},
	byApplySet: func(o client.Object) []string {
		return []string{o.GetLabels()[v1alpha1.ApplySetIDLabel]}
	},
	byCredential: func(o client.Object) []string {
		app := o.(*v1alpha1.Application)
		var names []string
		for _, key := range sopsKeys(app) {
			if key.SecretRef != nil {
				names = append(names, app.Namespace+"/"+key.SecretRef.Name)
			}
		}
		if ref := app.Spec.Source.Git.SecretRef; ref != nil {
			names = append(names, app.Namespace+"/"+ref.Name)
		}
		return names
	},
	byConflict: func(o client.Object) []string { return conflictsOf(o.(*v1alpha1.Application)) },
	byRepository: func(o client.Object) []string {
		return []string{source.RepositoryKey(o.(*v1alpha1.Application).Spec.Source.Git.URL)}
	},
}

// indexed lists the Applications with a value in a field, from the cache and
// without copying them: they must not be changed.
func (r *ApplicationReconciler) indexed(ctx context.Context, field, value string) []v1alpha1.Application {
	var found v1alpha1.ApplicationList
	if value == "" {
		return nil
	}
	if err := r.Client.List(ctx, &found, client.MatchingFields{field: value}, client.UnsafeDisableDeepCopy); err != nil {
		return nil
	}
	return found.Items
}

// askers are the Applications as stores see them; it implements
// stores.Applications.
type askers struct {
	*Signals
	client            client.Reader
	operatorNamespace string
}

// WorkWith implements stores.Applications. Of keys in the operator's namespace
// it knows nothing: they say themselves that they are.
func (a askers) WorkWith(ctx context.Context, secret types.NamespacedName) (who string, err error) {
	if secret.Namespace == a.operatorNamespace && (secret.Name == installKeyName || secret.Name == webhookSecretName) {
		return "the operator", nil
	}
	var found v1alpha1.ApplicationList
	if err := a.client.List(ctx, &found, client.MatchingFields{byCredential: secret.String()}, client.UnsafeDisableDeepCopy); err != nil {
		return "", err
	}
	if len(found.Items) == 0 {
		return "", nil
	}
	return fmt.Sprintf("Application %q", found.Items[0].Name), nil
}

// followers are the Applications of a repository, by its key. Before the cache
// has begun there are none; everything is looked at then anyway.
func (r *ApplicationReconciler) followers(key string) []v1alpha1.Application {
	return r.indexed(context.Background(), byRepository, key)
}

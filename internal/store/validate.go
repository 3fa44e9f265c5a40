package store

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

const (
	// DefaultRefresh between two checks of a store.
	DefaultRefresh = 5 * time.Minute
	// minRefresh keeps a store from being asked without end.
	minRefresh = 10 * time.Second
	maxRefresh = 365 * 24 * time.Hour

	maxRetries       = 10
	maxRetryInterval = time.Minute
)

// Validate looks for what the schema cannot tell, and for a store in Git, which
// no API server has seen, also for what it could. The error names the field.
func (s Store) Validate() error {
	if c := s.Spec.Controller; c != "" && c != v1alpha1.StoreController {
		return s.invalid("spec.controller leaves it to %q", c).
			WithHint("remove the field or set it to %q for gitseal to use the store", v1alpha1.StoreController)
	}
	if names := s.providers(); len(names) != 1 {
		return s.invalid("spec.provider takes exactly one provider, and has %s", listed(names))
	}
	for _, check := range []func() error{s.checkRefresh, s.checkRetries, s.checkLimits, s.checkAccess, s.checkConditions, s.checkProvider, s.checkIdentity} {
		if err := check(); err != nil {
			return err
		}
	}
	_, err := s.Named()
	return err
}

func listed(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// RefreshInterval between two checks.
func (s Store) RefreshInterval() time.Duration {
	d, err := interval(s.Spec.RefreshInterval)
	if err != nil || d <= 0 {
		return DefaultRefresh
	}
	return min(max(d, minRefresh), maxRefresh)
}

// interval reads seconds or a duration.
func interval(v *intstr.IntOrString) (time.Duration, error) {
	if v == nil {
		return 0, nil
	}
	if v.Type == intstr.Int {
		return time.Duration(v.IntVal) * time.Second, nil
	}
	if n, err := strconv.ParseInt(v.StrVal, 10, 32); err == nil {
		return time.Duration(n) * time.Second, nil
	}
	return time.ParseDuration(v.StrVal)
}

func (s Store) checkRefresh() error {
	if _, err := interval(s.Spec.RefreshInterval); err != nil {
		return s.invalid("spec.refreshInterval is neither a number of seconds nor a duration such as 5m")
	}
	return nil
}

func (s Store) checkRetries() error {
	r := s.Spec.RetrySettings
	if r == nil {
		return nil
	}
	if r.RetryInterval != nil {
		if d, err := time.ParseDuration(*r.RetryInterval); err != nil || d < 0 || d > maxRetryInterval {
			return s.invalid("spec.retrySettings.retryInterval must be a duration of at most 1m, such as 500ms")
		}
	}
	if r.MaxRetries != nil && (*r.MaxRetries < 0 || *r.MaxRetries > maxRetries) {
		return s.invalid("spec.retrySettings.maxRetries must be between 0 and 10")
	}
	return nil
}

func (s Store) checkLimits() error {
	l := s.Spec.Limits
	switch {
	case l == nil:
		return nil
	case outside(l.RequestsPerSecond, 10_000):
		return s.invalid("spec.limits.requestsPerSecond must be between 1 and 10000")
	case outside(l.Concurrency, 256):
		return s.invalid("spec.limits.concurrency must be between 1 and 256")
	}
	return nil
}

func outside(n *int32, most int32) bool { return n != nil && (*n < 1 || *n > most) }

func (s Store) checkAccess() error {
	for i, a := range s.Spec.Access {
		field := fmt.Sprintf("spec.access[%d]", i)
		if err := s.checkSelector(field, a.NamespaceSelector); err != nil {
			return err
		}
		if s.Kind == v1alpha1.KindSecretStore {
			other := slices.ContainsFunc(a.Namespaces, func(ns string) bool { return ns != "*" && ns != s.Namespace })
			if other || a.NamespaceSelector != nil {
				return s.invalid("%s names namespaces, and a SecretStore serves its own only", field).WithHint("leave namespaces out, or make it a ClusterSecretStore")
			}
		}
		for _, k := range a.Keys {
			if rest := strings.ReplaceAll(k, "{namespace}", ""); strings.ContainsAny(rest, "*{}") {
				return s.invalid("%s.keys: %q: only {namespace} is filled in", field, k).
					WithHint("a prefix ends in a slash and takes no star: team-a/")
			}
		}
	}
	return nil
}

func (s Store) checkConditions() error {
	if s.Kind == v1alpha1.KindSecretStore && !s.Private && len(s.Spec.Conditions) > 0 {
		return s.invalid("spec.conditions is of a ClusterSecretStore: a SecretStore serves its own namespace").WithHint("use spec.access")
	}
	for i, c := range s.Spec.Conditions {
		field := fmt.Sprintf("spec.conditions[%d]", i)
		if err := s.checkSelector(field, c.NamespaceSelector); err != nil {
			return err
		}
		for j, e := range c.NamespaceRegexes {
			if _, err := regexp.Compile(e); err != nil {
				return s.invalid("%s.namespaceRegexes[%d] is not a regular expression (RE2)", field, j)
			}
		}
	}
	return nil
}

func (s Store) checkSelector(field string, selector *metav1.LabelSelector) error {
	if selector == nil {
		return nil
	}
	if _, err := metav1.LabelSelectorAsSelector(selector); err != nil {
		return s.invalid("%s.namespaceSelector is no label selector", field)
	}
	return nil
}

// checkIdentity keeps a namespace from reading as the operator.
func (s Store) checkIdentity() error {
	if s.ambient() {
		return nil
	}
	p := s.Spec.Provider
	var own *failure.Error
	switch {
	case p.AWS != nil && p.AWS.Auth == v1alpha1.AWSAuth{}:
		own = s.invalid("spec.provider.aws.auth is missing")
	case p.GCPSM != nil && p.GCPSM.Auth == v1alpha1.GCPSMAuth{}:
		own = s.invalid("spec.provider.gcpsm.auth is missing")
	}
	if own == nil {
		return nil
	}
	return own.WithHint("only a ClusterSecretStore of the cluster may use the operator's own identity")
}

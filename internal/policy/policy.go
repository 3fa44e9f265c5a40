// Package policy decides whether rendered objects keep to the one secrets
// policy of their Application, and whether its Secrets are of a shape that the
// API server takes. The controller, the lint command and the Git hook share
// it.
//
// It works on tokens and on the kinds and lengths of values. It must not
// reveal a value, and must not read anything but what it is given.
package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/render"
	"github.com/gitseal/gitseal/internal/secret"
)

// maxShown bounds how many violations a message spells out.
const maxShown = 5

// Check returns nil, or one *failure.Error about all violations: of reason
// ObjectInvalid where every one is about the shape of a Secret, else
// PolicyViolated. values are those that the tokens in objects stand for; nil
// means that they are not known, and leaves out what depends on them.
func Check(spec v1alpha1.Secrets, objects []render.Object, values *secret.Set) error {
	c := &checker{spec: spec, values: values}
	for _, o := range objects {
		c.object = o
		c.check()
	}
	return c.verdict()
}

type violation struct {
	origin     render.Origin
	text, hint string
	structural bool
}

type checker struct {
	spec       v1alpha1.Secrets
	values     *secret.Set
	object     render.Object // the one being checked
	violations []violation
}

func (c *checker) check() {
	if c.foreign() {
		return
	}
	if _, ok := c.object.Object["sops"].(map[string]any); ok {
		c.sopsBlock()
		return
	}
	found := scan(c.object)
	if found.ciphertext != "" {
		c.violate("encrypt the whole file with kubectl gitseal encrypt, and do not copy parts of encrypted files",
			"holds text that SOPS has encrypted and nobody can open at %s", found.ciphertext)
	}
	if found.tokenKey != "" {
		c.violate("use the value as a value only", "holds an opened value in the name of a key under %s", found.tokenKey)
	}
	if found.metadata != "" {
		c.violate("metadata is readable by all who may list the object; use the value in data only", "holds an opened value at %s", found.metadata)
	}
	c.unknownToken(found)
	if isSecret(c.object) {
		c.secret(found)
		return
	}
	c.otherKind(found)
}

func (c *checker) sopsBlock() {
	if c.spec.Policy == v1alpha1.PolicySOPS {
		c.violate("encrypt the file as a whole with kubectl gitseal encrypt", "is encrypted with SOPS in a way that could not be opened")
		return
	}
	c.violate("set policy SOPS, which opens it", "is encrypted with SOPS and is refused under policy %s", c.spec.Policy)
}

func (c *checker) unknownToken(found findings) {
	if c.values == nil {
		return
	}
	for _, t := range found.tokens {
		if _, _, ok := c.values.Lookup(t.token); !ok {
			c.violate("a token is never written into Git; remove it", "holds a token that stands for no value of this Application at %s", t.field)
			return
		}
	}
}

// otherKind refuses values in anything but a Secret, unless the Application
// allows it.
func (c *checker) otherKind(found findings) {
	at := found.first(func(t tokenAt) bool { return t.where == inBody })
	if found.encoded != "" {
		c.violate("use data for text", "holds an opened value inside base64 at %s", found.encoded)
	}
	if at == "" || c.allowed() {
		return
	}
	gk := c.object.GroupVersionKind().GroupKind()
	c.violate(fmt.Sprintf("use a Secret, or list %s in spec.secrets.allowInKinds: whoever may read that kind then reads the value", gk),
		"holds an opened value at %s, and only a Secret may", at)
}

func (c *checker) allowed() bool {
	gk := c.object.GroupVersionKind().GroupKind()
	return slices.Contains(c.spec.AllowInKinds, gk.Kind) || slices.Contains(c.spec.AllowInKinds, gk.String())
}

// violate records a violation of the policy by the object.
func (c *checker) violate(hint, format string, args ...any) {
	c.add(violation{hint: hint, text: fmt.Sprintf(format, args...)})
}

// malformed records what the API server would refuse about the object.
func (c *checker) malformed(hint, format string, args ...any) {
	c.add(violation{hint: hint, text: fmt.Sprintf(format, args...), structural: true})
}

func (c *checker) add(v violation) {
	v.origin = c.object.Origin
	v.text = fmt.Sprintf("%s: %s %q %s", v.origin, c.object.GetKind(), c.object.GetName(), v.text)
	c.violations = append(c.violations, v)
}

// verdict makes one failure of all violations, in the order of their places.
func (c *checker) verdict() error {
	if len(c.violations) == 0 {
		return nil
	}
	slices.SortStableFunc(c.violations, func(a, b violation) int {
		return cmp.Or(cmp.Compare(a.origin.File, b.origin.File), cmp.Compare(a.origin.Line, b.origin.Line))
	})
	reason := v1alpha1.ReasonObjectInvalid
	var shown []string
	for i, v := range c.violations {
		if !v.structural {
			reason = v1alpha1.ReasonPolicyViolated
		}
		if i < maxShown {
			shown = append(shown, v.text)
		}
	}
	message := strings.Join(shown, "; ")
	if more := len(c.violations) - len(shown); more > 0 {
		message += fmt.Sprintf("; and %d more", more)
	}
	return failure.Stallf(reason, "%s", message).WithHint("%s", c.violations[0].hint)
}

func isSecret(o render.Object) bool {
	return o.GetKind() == "Secret" && o.GroupVersionKind().Group == ""
}

// foreign refuses an object of a secrets tool that does not belong under the
// policy, or that no policy knows.
func (c *checker) foreign() bool {
	gk := c.object.GroupVersionKind().GroupKind()
	sealed := gk.Kind == "SealedSecret" && (gk.Group == "bitnami.com" || gk.Group == v1alpha1.GroupVersion.Group)
	external := gk.Kind == "ExternalSecret" && gk.Group == "external-secrets.io"
	switch {
	case sealed:
		c.needs("Sealed")
	case external && c.spec.Policy != v1alpha1.PolicyExternal:
		c.needs(string(v1alpha1.PolicyExternal))
	case gk.Group != "external-secrets.io":
		return false
	case gk.Kind == "ClusterExternalSecret":
		c.violate("commit an ExternalSecret for each namespace, for instance with Kustomize", "is not supported under any policy")
	case gk.Kind == "PushSecret" || gk.Kind == "ClusterPushSecret":
		c.violate("remove it: gitseal writes to no provider, which owns its values", "is not supported under any policy")
	default:
		return false
	}
	return true
}

func (c *checker) needs(policy string) {
	c.violate(fmt.Sprintf("remove it, or keep it in an Application with policy %s", policy),
		"needs policy %s and is refused under policy %s", policy, c.spec.Policy)
}

// Package apply brings rendered objects into the cluster: it builds what is
// sent, compares it with what was applied last and with what the watches saw,
// injects values, applies server-side as the Application's ServiceAccount in
// waves, prunes, and reads health.
//
// It is the only part of the controller that reveals values, one object at a
// time, at the moment the object is sent. It writes no condition and no event.
package apply

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/render"
)

// ID identifies an object across versions of its kind.
type ID struct {
	schema.GroupKind
	Namespace string
	Name      string
}

// Compare orders IDs by namespace, kind and name.
func (id ID) Compare(other ID) int { return compareIDs(id, other) }

func (id ID) String() string {
	if id.Namespace == "" {
		return fmt.Sprintf("%s %q", id.Kind, id.Name)
	}
	return fmt.Sprintf("%s %q in namespace %q", id.Kind, id.Name, id.Namespace)
}

// Target says for whom objects are applied.
type Target struct {
	// Application is the parent of the ApplySet.
	Application types.NamespacedName
	// Identity is the ServiceAccount to apply, watch and prune as.
	Identity live.Identity
	// Namespace is for objects that name none.
	Namespace string
	// Ignore lists fields that others own.
	Ignore []v1alpha1.IgnoreDifference
}

// ApplySet is the id of the target's ApplySet, as KEP-3659 derives it from the
// parent's name, namespace, kind and group.
func (t Target) ApplySet() string {
	sum := sha256.Sum256([]byte(t.Application.Name + "." + t.Application.Namespace +
		".Application." + v1alpha1.GroupVersion.Group))
	return "applyset-" + base64.RawURLEncoding.EncodeToString(sum[:]) + "-v1"
}

// Item is one object, ready to be sent but for its values.
type Item struct {
	ID     ID
	Origin render.Origin
	// Scope is the watch that covers the object.
	Scope live.Scope
	// SyncWave is when it is applied, as Git says: lower ones are in place and
	// healthy first. Wave is the order inside it.
	SyncWave int32
	Wave     Wave
	// Run is when what runs once per content runs: Before or After. It is "" for
	// what is applied.
	Run string
	// Once: it is created where it is absent, and left alone from then on.
	Once bool
	// Hollow: it is there, and what it is to hold where it is not must be found
	// out anew, so that it is not created.
	Hollow bool
	// Merged: it is somebody else's, who keeps it; only what Git says of it is
	// applied. Awaited: it is merged into what is there, and never created.
	Merged  bool
	Awaited bool
	// HasStatus: the API server's answer tells the object's health.
	HasStatus bool
	// HasTokens: values are injected when it is sent, so no answer about it
	// may be repeated.
	HasTokens bool
	// Brought: its kind comes with a CustomResourceDefinition among the items
	// and is not served yet.
	Brought bool
	// Defined: its kind comes with a CustomResourceDefinition among the items.
	Defined bool
	// Housed: its namespace is created by another item.
	Housed bool
	// Brings is the kind that a CustomResourceDefinition defines, else empty.
	Brings schema.GroupKind

	claim *claim // what must hold for it to be sent; nil where it is ours
	// scaled: an autoscaler was seen to own its replicas. The watch does not
	// show that of an object without our label.
	scaled bool

	path   string // of the object on the API server
	body   []byte // JSON, tokens for values
	digest string // of what Git says, keyed
	// ignored are the rules about fields that others own.
	ignored []v1alpha1.IgnoreDifference
}

// Digest is a keyed digest of what Git says of the object.
func (i Item) Digest() string { return i.digest }

// opaque says whether nothing that is said about the object may be repeated: it
// holds values of ours, or is a Secret, which others may have filled.
func (i Item) opaque() bool { return i.HasTokens || i.ID.GroupKind == kindSecret }

func (i Item) key() live.Key { return live.Key{Namespace: i.ID.Namespace, Name: i.ID.Name} }

// Wave orders kinds: what others need comes first.
type Wave int

// The waves, in the order they are applied.
const (
	WaveDefinitions Wave = iota // Namespaces and CustomResourceDefinitions
	WaveIdentity                // ServiceAccounts and roles
	WaveBindings                // what binds roles, which must be there
	WaveConfig                  // Secrets and ConfigMaps
	WaveRest
)

func waveOf(gk schema.GroupKind) Wave {
	switch {
	case gk == kindNamespace, gk == kindCRD:
		return WaveDefinitions
	case gk.Group == groupRBAC && strings.HasSuffix(gk.Kind, "Binding"):
		return WaveBindings
	case gk.Group == groupRBAC, gk.Group == "" && gk.Kind == "ServiceAccount":
		return WaveIdentity
	case gk == kindSecret, gk.Group == "" && gk.Kind == "ConfigMap":
		return WaveConfig
	}
	return WaveRest
}

const groupRBAC = "rbac.authorization.k8s.io"

var (
	kindPod       = schema.GroupKind{Kind: "Pod"}
	kindNamespace = schema.GroupKind{Kind: "Namespace"}
	kindSecret    = schema.GroupKind{Kind: "Secret"}
	kindCRD       = schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}
)

// BringAgain marks the items of a scope whose kind is defined by another item
// as brought: the API server has ceased to serve it. It reports whether there
// are any that were not marked yet.
func BringAgain(items []Item, s live.Scope) bool {
	found := false
	for i := range items {
		if items[i].Scope == s && items[i].Defined && !items[i].Brought {
			items[i].Brought, found = true, true
		}
	}
	return found
}

// Scopes returns the watches that cover items whose kind the API server
// serves, each once.
func Scopes(items []Item) []live.Scope {
	seen := map[live.Scope]bool{}
	var scopes []live.Scope
	for _, i := range items {
		if !seen[i.Scope] && !i.Brought {
			seen[i.Scope] = true
			scopes = append(scopes, i.Scope)
		}
	}
	return scopes
}

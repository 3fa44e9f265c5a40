package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
)

// refusal turns the API server's error about an item into one that says what
// to do. The server's own text is used only for objects that hold no value:
// it may quote what it was sent.
func (e *Engine) refusal(ctx context.Context, item Item, verb string, err error) error {
	if ctx.Err() != nil {
		return failure.Failf(v1alpha1.ReasonApplyFailed, "%s %s: %w", verb, item.ID, context.Cause(ctx))
	}
	if apierrors.IsForbidden(err) {
		if denied := e.forbidden(ctx, item.Scope, verb); denied != nil {
			return denied
		}
	}
	status, ok := apiStatus(err)
	switch {
	case !ok:
		return failure.Failf(v1alpha1.ReasonApplyFailed, "%s %s: the API server could not be reached", verb, item.ID)
	case apierrors.IsNotFound(err) && details(status).Kind == "namespaces":
		return failure.Failf(v1alpha1.ReasonNamespaceMissing, "%s: namespace %q does not exist", item.Origin, item.ID.Namespace).
			WithHint("create it, or add a Namespace object to the repository")
	case apierrors.IsNotFound(err):
		meta.MaybeResetRESTMapper(e.mapper)
		return failure.Waitf(v1alpha1.ReasonKindUnknown, "%s: the API server does not serve %s", item.Origin, item.Scope.Resource.GroupResource()).
			WithHint("install its CustomResourceDefinition")
	}
	f := failure.Failf(v1alpha1.ReasonApplyFailed, "%s: the API server refused %s: %s", item.Origin, item.ID, e.explain(item, status))
	_, mistyped := wrongType(status)
	switch {
	case tooLarge(status):
		f.Class = failure.Stall
		return f.WithHint("split it into several objects")
	case mistyped || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsRequestEntityTooLargeError(err):
		f.Class = failure.Stall
		f.Hint = "correct it in Git"
		if item.HasTokens && slices.Contains(fieldsOf(item, status), "data") {
			f.Hint = "if it is immutable, give it a new name in Git"
		}
	}
	return f
}

func apiStatus(err error) (metav1.Status, bool) {
	var s apierrors.APIStatus
	if !errors.As(err, &s) {
		return metav1.Status{}, false
	}
	return s.Status(), true
}

func details(s metav1.Status) metav1.StatusDetails {
	if s.Details == nil {
		return metav1.StatusDetails{}
	}
	return *s.Details
}

// explain says why, in the server's words where that is safe, else from the
// parts of the status that cannot hold a value: reason, fields and the name of
// an admission webhook.
func (e *Engine) explain(item Item, s metav1.Status) string {
	// What went wrong inside the API server, or on its way to a webhook, is
	// told in words that differ each time.
	field, mistyped := wrongType(s)
	if !item.opaque() && (mistyped || s.Code < http.StatusInternalServerError) {
		return firstLine(s.Message)
	}
	if tooLarge(s) {
		return "it is too large to be stored"
	}
	if mistyped {
		return "a field of " + field + " is of the wrong type" + withheld
	}
	why := ownReason(s)
	if hook := webhookName(s.Message); hook != "" {
		why = fmt.Sprintf("admission webhook %q denied it (%s)", hook, why)
	}
	if conversion.MatchString(s.Message) {
		why = fmt.Sprintf("the conversion webhook of its kind failed (%s)", why)
	}
	if fields := fieldsOf(item, s); len(fields) > 0 {
		why += " in " + strings.Join(fields, ", ")
	}
	if !item.opaque() {
		return why
	}
	return why + withheld
}

// ownReason is the status' reason where it is one of the API server's own.
func ownReason(s metav1.Status) string {
	if slices.Contains(reasons, s.Reason) {
		return string(s.Reason)
	}
	return fmt.Sprintf("status %d", s.Code)
}

const withheld = "; its words are withheld, for they may quote the secret"

// typedPatch is how server-side apply begins its complaint about a value of
// another type than the schema says. It comes as status 500 without a reason,
// so that its text is all there is to know it by.
var typedPatch = regexp.MustCompile(`^failed to create typed patch object \([^()]*\): \.([A-Za-z][A-Za-z0-9]*(?:\.[A-Za-z][A-Za-z0-9]*)*)`)

// wrongType returns the field, down to the first list, whose value has the
// wrong type.
func wrongType(s metav1.Status) (field string, ok bool) {
	if m := typedPatch.FindStringSubmatch(s.Message); m != nil && s.Code == http.StatusInternalServerError {
		return m[1], true
	}
	return "", false
}

// tooLarge reports whether etcd would not take an object. This, too, comes as
// status 500 without a reason.
func tooLarge(s metav1.Status) bool {
	return s.Code == http.StatusInternalServerError && s.Message == "etcdserver: request is too large"
}

// reasons are those that are the API server's own; a webhook may answer with
// any text.
var reasons = []metav1.StatusReason{
	metav1.StatusReasonInvalid, metav1.StatusReasonBadRequest, metav1.StatusReasonForbidden, metav1.StatusReasonConflict,
	metav1.StatusReasonNotFound, metav1.StatusReasonTimeout, metav1.StatusReasonServerTimeout, metav1.StatusReasonTooManyRequests,
	metav1.StatusReasonInternalError, metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonServiceUnavailable,
	metav1.StatusReasonUnauthorized, metav1.StatusReasonMethodNotAllowed, metav1.StatusReasonUnsupportedMediaType,
}

const maxFields = 5

// fieldsOf lists the fields that a status complains about, as far as they are
// fields of the item: anything else might be content.
func fieldsOf(item Item, s metav1.Status) []string {
	var object map[string]any
	if json.Unmarshal(item.body, &object) != nil {
		return nil
	}
	var fields []string
	for _, c := range details(s).Causes {
		if f := known(object, c.Field); f != "" && !slices.Contains(fields, f) && len(fields) < maxFields {
			fields = append(fields, f)
		}
	}
	slices.Sort(fields)
	return fields
}

// known is the part of a field path that leads through the object's maps.
func known(object map[string]any, field string) string {
	var path []string
	for _, name := range strings.FieldsFunc(field, func(r rune) bool { return strings.ContainsRune(".[]", r) }) {
		child, ok := object[name]
		if !ok {
			break
		}
		path = append(path, name)
		if object, ok = child.(map[string]any); !ok {
			break
		}
	}
	return strings.Join(path, ".")
}

var webhook = regexp.MustCompile(`^admission webhook "([a-z0-9.-]+)" denied the request`)

// webhookName reads the name that the API server itself puts in front of what
// a webhook says. It only adds to a message; nothing is decided by it.
func webhookName(message string) string {
	if m := webhook.FindStringSubmatch(message); m != nil {
		return m[1]
	}
	return ""
}

// conversion is how the API server names a conversion webhook that failed. It,
// too, only adds to a message.
var conversion = regexp.MustCompile(`conversion webhook for [A-Za-z0-9./-]+, Kind=[A-Za-z0-9]+ failed`)

const maxServerText = 300

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	if len(s) > maxServerText {
		s = strings.ToValidUTF8(s[:maxServerText], "") + "…"
	}
	return s
}

// forbidden says whether the operator may not act as the ServiceAccount, the
// ServiceAccount may not do what is asked, or (nil) admission said no or
// nobody knows.
func (e *Engine) forbidden(ctx context.Context, s live.Scope, verb string) error {
	id := s.Identity
	if id.IsOperator() {
		return failure.Failf(v1alpha1.ReasonAccessDenied, "the operator may not %s %s", verb, s).
			WithHint("let it in with the Role that `kubectl gitseal init` writes")
	}
	allowed, err := e.allowed(ctx, s, verb)
	if err == nil && allowed && verb == "patch" {
		verb = "create" // which applying an object that is not there takes, too
		allowed, err = e.allowed(ctx, s, verb)
	}
	if apierrors.IsForbidden(err) {
		return failure.Failf(v1alpha1.ReasonAccessDenied, "namespace %q has not let gitseal act as ServiceAccount %q", id.Namespace, id.ServiceAccount).
			WithHint("apply the Role and RoleBinding that `kubectl gitseal init --namespace %s --service-account %s` writes", id.Namespace, id.ServiceAccount)
	}
	if err != nil || allowed {
		return nil
	}
	where := "in the whole cluster"
	if s.Namespace != "" {
		where = fmt.Sprintf("in namespace %q", s.Namespace)
	}
	return failure.Failf(v1alpha1.ReasonForbidden, "ServiceAccount %q of namespace %q may not %s %s %s", id.ServiceAccount, id.Namespace, verb, s.Resource.GroupResource(), where).
		WithHint("create the ServiceAccount if it is missing, and bind it to a Role that allows get, list, watch, create, patch and delete on %s", s.Resource.GroupResource())
}

// allowed asks the API server, as the identity itself, whether RBAC lets it
// do what was refused. That the question is forbidden means that the operator
// may not act as the identity.
func (e *Engine) allowed(ctx context.Context, s live.Scope, verb string) (bool, error) {
	client, err := e.clients.REST(s.Identity)
	if err != nil {
		return false, err
	}
	review := &authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"},
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: verb, Group: s.Resource.Group, Resource: s.Resource.Resource, Namespace: s.Namespace,
		}},
	}
	body, err := json.Marshal(review)
	if err != nil {
		return false, err
	}
	result := client.Post().AbsPath("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews").Body(body).Do(ctx)
	if err := result.Error(); err != nil {
		return false, err
	}
	raw, err := result.Raw()
	if err != nil {
		return false, err
	}
	err = json.Unmarshal(raw, review)
	return review.Status.Allowed, err
}

// WatchRefusal turns a watch's error into one that says what to do.
func (e *Engine) WatchRefusal(ctx context.Context, err error) error {
	var w *live.WatchError
	if !errors.As(err, &w) {
		return failure.From(err, v1alpha1.ReasonApplyFailed)
	}
	switch {
	case apierrors.IsForbidden(w.Err):
		if denied := e.forbidden(ctx, w.Scope, "watch"); denied != nil {
			return denied
		}
	case apierrors.IsNotFound(w.Err):
		meta.MaybeResetRESTMapper(e.mapper)
		return failure.Waitf(v1alpha1.ReasonKindUnknown, "the API server does not serve %s", w.Scope.Resource.GroupResource()).
			WithHint("install its CustomResourceDefinition")
	case errors.Is(w.Err, live.ErrNotSynced):
		return failure.Failf(v1alpha1.ReasonApplyFailed, "watch %s: %w", w.Scope, live.ErrNotSynced)
	}
	return failure.Failf(v1alpha1.ReasonApplyFailed, "watch %s: the API server does not answer", w.Scope)
}

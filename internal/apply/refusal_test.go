package apply

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/secret"
)

func TestRefusalsOfSecretsNeverRepeatTheServer(t *testing.T) {
	q := canary + " " + b64(canary)
	tests := map[string]struct {
		code   int
		status string
		want   string
	}{
		"a validation error that quotes the value": {422, `{"reason":"Invalid","code":422,"message":"Secret is invalid: data: Invalid value: ` + q + `","details":{"causes":[{"field":"data[password]","message":"` + q + `"}]}}`, "Invalid in data.password"},
		"a field path made of the value":           {422, `{"reason":"Invalid","code":422,"message":"x","details":{"causes":[{"field":"` + canary + `"},{"field":"data.` + canary + `"},{"field":"metadata.name[` + canary + `]"}]}}`, "Invalid in data, metadata.name;"},
		"a webhook that quotes its input":          {400, `{"reason":"` + canary + `","code":400,"message":"admission webhook \"guard.example.com\" denied the request: ` + q + `"}`, `admission webhook "guard.example.com" denied it (status 400)`},
		"an object that etcd does not take":        {500, `{"code":500,"message":"etcdserver: request is too large"}`, "it is too large to be stored: split it into several objects"},
		"a conversion webhook that hangs":          {500, `{"code":500,"message":"conversion webhook for example.com/v2, Kind=Widget failed: ` + q + `"}`, "the conversion webhook of its kind failed (status 500)"},
		"a webhook that quotes in every part":      {403, `{"reason":"` + canary + `","code":403,"message":"` + q + `","details":{"name":"` + canary + `","kind":"` + canary + `","causes":[{"reason":"` + canary + `","field":"` + canary + `"}]}}`, "status 403"},
		"a typed patch that does not fit":          {500, `{"reason":"InternalError","code":500,"message":"failed to create typed patch object: .data.password: expected string, got &value.valueUnstructured{Value:` + canary + `}"}`, "InternalError; its words are withheld"},
		"a body that is too large":                 {413, `{"reason":"RequestEntityTooLarge","code":413,"message":"` + q + `"}`, "RequestEntityTooLarge"},
		"an immutable field":                       {422, `{"reason":"Invalid","code":422,"message":"` + q + `","details":{"causes":[{"field":"data"}]}}`, "if it is immutable, give it a new name in Git"},
		"an answer that is no status":              {502, `<html>` + canary, "the API server refused"},
		"success that is no object":                {200, canary, "it is no object"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.answer = func(rw http.ResponseWriter, r *http.Request, _ string) {
				if strings.Contains(r.URL.Path, "selfsubjectaccessreviews") {
					_, _ = io.WriteString(rw, `{"status":{"allowed":true}}`)
					return
				}
				refuse(rw, tt.code, tt.status)
			}
			item := w.build("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {password: " + w.token(canary, secret.String) + "}")[0]
			_, err := w.Apply(t.Context(), []Item{item}, w.ledger, w.values)
			if err == nil {
				t.Fatal("Apply() = nil")
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				text := fmt.Sprintf("%v %+v %s", e, e, failure.From(e, "").Message())
				if strings.Contains(text, canary) || strings.Contains(text, b64(canary)) {
					t.Errorf("%s quotes the value", text)
				}
			}
			if text := failure.From(err, "").Message(); !strings.Contains(text, tt.want) || strings.Contains(text, canary) {
				t.Errorf("Apply() = %q, want %q in it and no value", text, tt.want)
			}
		})
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	const forbidden = `{"reason":"Forbidden","code":403,"message":"the server's words"}`
	tests := map[string]struct {
		code   int
		status string
		review func(verb string) (int, string)
		class  failure.Class
		reason string
		text   string
	}{
		"the namespace has not let the operator in": {403, forbidden, func(string) (int, string) { return 403, forbidden }, failure.Fail, v1alpha1.ReasonAccessDenied,
			`namespace "ns" has not let gitseal act as ServiceAccount "sa": apply the Role and RoleBinding`},
		"the ServiceAccount has no rights": {403, forbidden, func(string) (int, string) { return 201, `{"status":{"allowed":false}}` }, failure.Fail, v1alpha1.ReasonForbidden,
			`ServiceAccount "sa" of namespace "ns" may not patch configmaps in namespace "ns"`},
		"the ServiceAccount may change but not create": {403, forbidden, func(verb string) (int, string) { return 201, fmt.Sprintf(`{"status":{"allowed":%v}}`, verb == "patch") }, failure.Fail, v1alpha1.ReasonForbidden,
			`ServiceAccount "sa" of namespace "ns" may not create configmaps in namespace "ns"`},
		"admission said no": {403, forbidden, func(string) (int, string) { return 201, `{"status":{"allowed":true}}` }, failure.Fail, v1alpha1.ReasonApplyFailed,
			`the API server refused ConfigMap "a" in namespace "ns": the server's words`},
		"nobody can say why": {403, forbidden, func(string) (int, string) { return 500, `{"reason":"InternalError","code":500}` }, failure.Fail, v1alpha1.ReasonApplyFailed,
			"the server's words"},
		"the namespace is missing": {404, `{"reason":"NotFound","code":404,"details":{"kind":"namespaces","name":"ns"}}`, nil, failure.Fail, v1alpha1.ReasonNamespaceMissing,
			`app.yaml:1: namespace "ns" does not exist: create it, or add a Namespace object to the repository`},
		"the kind is not served": {404, `{"reason":"NotFound","code":404}`, nil, failure.Wait, v1alpha1.ReasonKindUnknown,
			"the API server does not serve configmaps"},
		"the object is invalid": {422, `{"reason":"Invalid","code":422,"message":"line one\nline two"}`, nil, failure.Stall, v1alpha1.ReasonApplyFailed,
			`line one: correct it in Git`},
		"the API server is overloaded": {503, `{"reason":"ServiceUnavailable","code":503,"message":"busy"}`, nil, failure.Fail, v1alpha1.ReasonApplyFailed, "ServiceUnavailable"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.answer = func(rw http.ResponseWriter, r *http.Request, body string) {
				if strings.Contains(r.URL.Path, "selfsubjectaccessreviews") {
					verb := "create"
					if strings.Contains(body, `"verb":"patch"`) {
						verb = "patch"
					}
					code, text := tt.review(verb)
					if code >= 400 {
						refuse(rw, code, text)
						return
					}
					_, _ = io.WriteString(rw, text)
					return
				}
				if user := r.Header.Get("Impersonate-User"); user != "system:serviceaccount:ns:sa" {
					t.Errorf("the request came as %q", user)
				}
				refuse(rw, tt.code, tt.status)
			}
			_, err := w.Apply(t.Context(), w.build(configMap("a")), w.ledger, w.values)
			f := failure.From(err, "")
			if f.Class != tt.class || f.Reason != tt.reason || !strings.Contains(f.Message(), tt.text) {
				t.Errorf("Apply() = %s, %s, %q, want %s, %s, %q", f.Class, f.Reason, f.Message(), tt.class, tt.reason, tt.text)
			}
		})
	}
}

func TestAnUnreachableServerIsNotQuoted(t *testing.T) {
	w := newWorld(t)
	w.answer = func(rw http.ResponseWriter, _ *http.Request, _ string) {
		c, _, err := rw.(http.Hijacker).Hijack()
		if err == nil {
			_ = c.Close()
		}
	}
	_, err := w.Apply(t.Context(), w.build(configMap("a")), w.ledger, w.values)
	if err == nil || !strings.Contains(err.Error(), "could not be reached") || strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("Apply() = %v, want no address, which differs each time", err)
	}
}

func TestWatchRefusals(t *testing.T) {
	member := live.Scope{Identity: live.Identity{Namespace: "ns", ServiceAccount: "sa"}, Namespace: "ns", Resource: schema.GroupVersionResource{Version: "v1", Resource: "pods"}}
	forbidden := apierrors.NewForbidden(schema.GroupResource{Resource: "pods"}, "", nil)
	tests := map[string]struct {
		err    error
		class  failure.Class
		reason string
		text   string
	}{
		"no right to watch":        {&live.WatchError{Scope: member, Err: forbidden}, failure.Fail, v1alpha1.ReasonForbidden, "may not watch pods"},
		"the operator's own":       {&live.WatchError{Scope: live.Scope{Resource: member.Resource}, Err: forbidden}, failure.Fail, v1alpha1.ReasonAccessDenied, "the operator may not watch pods"},
		"a kind that is not there": {&live.WatchError{Scope: member, Err: apierrors.NewGenericServerResponse(404, "list", schema.GroupResource{}, "", "", 0, true)}, failure.Wait, v1alpha1.ReasonKindUnknown, "does not serve pods"},
		"no answer yet":            {&live.WatchError{Scope: member, Err: live.ErrNotSynced}, failure.Fail, v1alpha1.ReasonApplyFailed, "has not answered yet"},
		"another trouble":          {&live.WatchError{Scope: member, Err: errors.New("dial 10.0.0.1:443")}, failure.Fail, v1alpha1.ReasonApplyFailed, "the API server does not answer"},
		"no watch at all":          {errors.New("other"), failure.Fail, v1alpha1.ReasonApplyFailed, "other"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.answer = func(rw http.ResponseWriter, _ *http.Request, _ string) {
				_, _ = io.WriteString(rw, `{"status":{"allowed":false}}`)
			}
			f := failure.From(w.WatchRefusal(t.Context(), tt.err), "")
			if f.Class != tt.class || f.Reason != tt.reason || !strings.Contains(f.Message(), tt.text) || strings.Contains(f.Message(), "10.0.0.1") {
				t.Errorf("WatchRefusal() = %s, %s, %q, want %s, %s, %q", f.Class, f.Reason, f.Message(), tt.class, tt.reason, tt.text)
			}
		})
	}
}

func TestKnownFieldsEndWhereTheObjectDoes(t *testing.T) {
	object := map[string]any{"data": map[string]any{"a": "x"}, "spec": map[string]any{"ports": []any{}}}
	for field, want := range map[string]string{
		"data": "data", "data[a]": "data.a", "data.b": "data", "spec.ports[0].name": "spec.ports", "other": "", "": "", ".data.a": "data.a", "[[": "",
	} {
		if got := known(object, field); got != want {
			t.Errorf("known(%q) = %q, want %q", field, got, want)
		}
	}
	if got := fieldsOf(Item{body: []byte("{}")}, metav1.Status{}); len(got) != 0 {
		t.Errorf("fieldsOf(no details) = %v, want none", got)
	}
}

// A Secret that Git gives no value may hold those of others, and a webhook that
// is shown it may quote them.
func TestRefusalsOfSecretsThatOthersFillNeverRepeatTheServer(t *testing.T) {
	w := newWorld(t)
	w.answer = func(rw http.ResponseWriter, _ *http.Request, _ string) {
		refuse(rw, 400, `{"reason":"BadRequest","code":400,"message":"admission webhook \"guard.example.com\" denied the request: `+canary+`"}`)
	}
	item := w.build("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\n")[0]
	_, err := w.Apply(t.Context(), []Item{item}, w.ledger, w.values)
	if err == nil || strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), "guard.example.com") {
		t.Errorf("Apply() = %v, want the webhook named and not quoted", err)
	}
}

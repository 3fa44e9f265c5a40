package e2e

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// secretWith is an encrypted Secret db with these lines under stringData.
func secretWith(lines string) func(*refused) {
	return func(r *refused) {
		r.t.Helper()
		r.encrypt("db.yaml", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\nstringData:\n"+lines)
	}
}

const maxValue = 1 << 20

func TestSecretsOfAShapeThatTheAPIServerRefuses(t *testing.T) {
	t.Parallel()
	runRefusals(t, map[string]refusal{
		"a number where text is wanted": {
			commit:  secretWith("  pin: 83910274\n"),
			reason:  v1alpha1.ReasonObjectInvalid,
			message: `db.yaml:1: Secret "db" has a number where text is expected at stringData.pin: quote it before encrypting`,
		},
		"a boolean where text is wanted": {
			commit:  secretWith("  pin: true\n"),
			reason:  v1alpha1.ReasonObjectInvalid,
			message: `db.yaml:1: Secret "db" has a boolean where text is expected at stringData.pin: quote it before encrypting`,
		},
		"a map where text is wanted": {
			commit:  secretWith("  pin:\n    a: hidden inside\n"),
			reason:  v1alpha1.ReasonObjectInvalid,
			message: `db.yaml:1: Secret "db" has a map where text is expected at stringData.pin: write it as one text, with |`,
		},
		"a list where text is wanted": {
			commit:  secretWith("  pin:\n    - hidden inside\n"),
			reason:  v1alpha1.ReasonObjectInvalid,
			message: `db.yaml:1: Secret "db" has a list where text is expected at stringData.pin: write it as one text, with |`,
		},
		"a bad key": {
			commit:  secretWith("  bad key!: hidden\n"),
			reason:  v1alpha1.ReasonObjectInvalid,
			message: `db.yaml:1: Secret "db" stringData has the key "bad key!", which is not valid: use letters, digits, '-', '_' and '.' only`,
		},
		"a Secret over 1 MiB": {
			commit:  secretWith("  pin: " + strings.Repeat("x", maxValue+1) + "\n"),
			reason:  v1alpha1.ReasonObjectInvalid,
			message: `db.yaml:1: Secret "db" is larger than 1 MiB: split it over several Secrets`,
		},
		"data that is no base64 once it is opened": {
			commit: func(r *refused) {
				r.encrypt("db.yaml", "apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\ndata:\n  pin: not base64!\n")
			},
			reason:  v1alpha1.ReasonObjectInvalid,
			message: `db.yaml:1: Secret "db" in namespace "{ns}": data["pin"] does not hold base64 once it is decrypted: encode it before it is encrypted, or move it to stringData`,
		},
	})
}

const withheld = "; its words are withheld, for they may quote the secret"

func TestObjectsThatTheAPIServerRefuses(t *testing.T) {
	t.Parallel()
	immutable := "apiVersion: v1\nkind: Secret\nmetadata:\n  name: fixed\nimmutable: true\nstringData:\n  pin: the %s value\n"
	runRefusals(t, map[string]refusal{
		"an immutable Secret changed": {
			prepare: func(r *refused) { r.encrypt("fixed.yaml", fmt.Sprintf(immutable, "first")) },
			commit:  func(r *refused) { r.encrypt("fixed.yaml", fmt.Sprintf(immutable, "second")) },
			reason:  v1alpha1.ReasonApplyFailed,
			message: `fixed.yaml:1: the API server refused Secret "fixed" in namespace "{ns}": Invalid in data` + withheld +
				`: if it is immutable, give it a new name in Git`,
		},
		"a webhook that quotes its input": {
			commit:  func(r *refused) { r.quoteSecrets(); secretWith("  pin: quoted by a webhook\n")(r) },
			reason:  v1alpha1.ReasonApplyFailed,
			message: `db.yaml:1: the API server refused Secret "db" in namespace "{ns}": admission webhook "quote.example.com" denied it (Forbidden)` + withheld,
			waits:   true,
		},
		"a number where a container wants text": {
			prepare: func(r *refused) { r.app.Spec.Secrets.AllowInKinds = []string{"Deployment.apps"} },
			commit: func(r *refused) {
				r.tamper(".sops.yaml", func(s string) string { return strings.ReplaceAll(s, "stringData", "stringData|value") })
				r.encrypt("web.yaml", strings.Replace(deployment, "envFrom: [{secretRef: {name: db}}]", "env: [{name: PIN, value: 83910274}]", 1))
			},
			reason:  v1alpha1.ReasonApplyFailed,
			message: `web.yaml:1: the API server refused Deployment "web" in namespace "{ns}": a field of spec.template.spec.containers is of the wrong type` + withheld + ": correct it in Git",
		},
		"a field that the kind does not have": {
			plain:   true,
			commit:  files(map[string]string{"new.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: new}\ndata: {a: {b: c}}\n"}),
			partial: true,
			reason:  v1alpha1.ReasonApplyFailed,
			message: `new.yaml:1: the API server refused ConfigMap "new" in namespace "{ns}": failed to create typed patch object ({ns}/new; /v1, Kind=ConfigMap): ` +
				`.data.a: expected string, got &value.valueUnstructured{Value:map[string]interface {}{"b":"c"}}: correct it in Git`,
		},
		"a name that is not valid": {
			plain:   true,
			commit:  files(map[string]string{"new.yaml": configMap("Not_Valid", "1")}),
			partial: true,
			reason:  v1alpha1.ReasonApplyFailed,
			message: `new.yaml:1: the API server refused ConfigMap "Not_Valid" in namespace "{ns}": ConfigMap "Not_Valid" is invalid: metadata.name: Invalid value: "Not_Valid": ` +
				`a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character ` +
				`(e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z…: correct it in Git`,
		},
	})
}

// quoteSecrets puts a validating webhook in front of the namespace's Secret
// db: it refuses everything and says what it was sent, as careless ones do.
func (r *refused) quoteSecrets() {
	r.t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(quoteAndDeny))
	r.t.Cleanup(server.Close)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	none, fail, scope := admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.Fail, admissionregistrationv1.NamespacedScope
	hook := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: r.ns}}
	hook.Webhooks = []admissionregistrationv1.ValidatingWebhook{{
		Name: "quote.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: &none, FailurePolicy: &fail, TimeoutSeconds: ptr.To(maxWebhookSeconds),
		ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: &server.URL, CABundle: authority},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: r.ns}},
		MatchConditions:   []admissionregistrationv1.MatchCondition{{Name: "db", Expression: "object.metadata.name == 'db'"}},
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}, Scope: &scope},
		}},
	}}
	if err := sandbox.Client.Create(r.t.Context(), hook); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _, _ = sandbox.Kubectl(cleanupContext(), "", "delete", "validatingwebhookconfiguration", r.ns) })
	eventually(r.t, "the webhook in place", func(ctx context.Context) error {
		err := sandbox.Client.Create(ctx, &corev1.Secret{ObjectMeta: meta1("db", r.ns)}, client.DryRunAll)
		if !apierrors.IsForbidden(err) {
			return fmt.Errorf("it is not refused yet: %w", err)
		}
		return nil
	})
}

func quoteAndDeny(w http.ResponseWriter, request *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	said := "I do not like " + string(review.Request.Object.Raw)
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Warnings: []string{said}, Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: said,
		Details: &metav1.StatusDetails{Causes: []metav1.StatusCause{{Field: said, Message: said}}},
	}}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

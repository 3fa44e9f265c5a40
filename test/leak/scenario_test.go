package leak

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// scenario is one way for secrets to go, after a first good revision. Empty,
// the reason is that of success.
type scenario struct {
	reason string
	run    func(*play)
}

var ciphertext = regexp.MustCompile(`ENC\[[^\]]*\]`)

// tampered encrypts a Secret and changes the file.
func tampered(change func(string) string) func(*play) {
	return func(p *play) {
		p.encrypt("db.yaml", p.secret("db", nil))
		p.tamper("db.yaml", change)
	}
}

func flip(last bool) func(string) string {
	return func(file string) string {
		found := ciphertext.FindAllStringIndex(file, -1)
		at := found[0][0]
		if last {
			at = found[len(found)-1][0]
		}
		at += len("ENC[AES256_GCM,data:")
		if file[at] == 'A' {
			return file[:at] + "B" + file[at+1:]
		}
		return file[:at] + "A" + file[at+1:]
	}
}

func swap(file string) string {
	found := ciphertext.FindAllString(file, -1)
	return strings.NewReplacer(found[0], found[1], found[1], found[0]).Replace(file)
}

func cut(at string) func(string) string {
	return func(file string) string { return file[:strings.Index(file, at)] }
}

// malformed encrypts a Secret with one entry of another type.
func malformed(key string, value func(*play) any) func(*play) {
	return func(p *play) {
		p.encrypt("db.yaml", p.secret("db", map[string]any{"stringData": map[string]any{key: value(p)}}))
	}
}

func files() map[string]scenario {
	return map[string]scenario{
		"a good revision":     {run: func(p *play) { p.encrypt("db.yaml", p.secret("db", nil)) }},
		"tampered ciphertext": {v1alpha1.ReasonDecryptionFailed, tampered(flip(false))},
		"a tampered MAC":      {v1alpha1.ReasonDecryptionFailed, tampered(flip(true))},
		"a swapped value":     {v1alpha1.ReasonDecryptionFailed, tampered(swap)},
		"a field changed":     {v1alpha1.ReasonDecryptionFailed, tampered(func(s string) string { return strings.Replace(s, "name: db", "name: dc", 1) })},
		"no metadata":         {v1alpha1.ReasonDecryptionFailed, tampered(cut("sops:"))},
		"cut metadata":        {v1alpha1.ReasonDecryptionFailed, tampered(cut("    mac:"))},
		"another recipient": {v1alpha1.ReasonDecryptionFailed, func(p *play) {
			other := p.key("other-" + p.ns)
			p.tamper(".sops.yaml", func(s string) string { return regexp.MustCompile(`age1[a-z0-9]+`).ReplaceAllString(s, other) })
			p.encrypt("db.yaml", p.secret("db", nil))
		}},
		"another key": {v1alpha1.ReasonDecryptionFailed, func(p *play) {
			p.key("other-" + p.ns)
			p.edit(func(s *v1alpha1.ApplicationSpec) { s.Secrets.SOPS.Keys[0].KeyRef.Name = "other-" + p.ns })
		}},
		"a plain value among ciphertext": {v1alpha1.ReasonDecryptionFailed, func(p *play) {
			p.encrypt("db.yaml", p.secret("db", nil))
			v := p.canary("plain")
			v.inGit = true
			p.tamper("db.yaml", func(s string) string { return strings.Replace(s, ciphertext.FindString(s), v.value, 1) })
		}},
		"a plain Secret": {v1alpha1.ReasonPolicyViolated, func(p *play) { p.write(map[string]string{"db.yaml": p.inGit(p.secret("db", nil))}) }},
		"a plain Secret under None": {v1alpha1.ReasonPolicyViolated, func(p *play) {
			p.write(map[string]string{"db.yaml": p.inGit(p.secret("db", nil)), "good.yaml": ""})
			p.edit(func(s *v1alpha1.ApplicationSpec) { s.Secrets = v1alpha1.Secrets{Policy: v1alpha1.PolicyNone} })
		}},
	}
}

// inGit marks the values of a text as committed in plain.
func (p *play) inGit(text string) string {
	p.cast.mu.Lock()
	defer p.cast.mu.Unlock()
	for _, c := range p.cast.all {
		if c.secret == p.ns+"/db" {
			c.inGit, c.secret = true, ""
		}
	}
	return text
}

func objects() map[string]scenario {
	return map[string]scenario{
		"a number":   {v1alpha1.ReasonObjectInvalid, malformed("n", func(p *play) any { return json.RawMessage(p.number()) })},
		"a map":      {v1alpha1.ReasonObjectInvalid, malformed("m", func(p *play) any { return map[string]any{"a": p.value("map")} })},
		"a list":     {v1alpha1.ReasonObjectInvalid, malformed("l", func(p *play) any { return []any{p.value("list")} })},
		"a bad key":  {v1alpha1.ReasonObjectInvalid, malformed("bad key!", func(p *play) any { return p.value("bad") })},
		"over 1 MiB": {v1alpha1.ReasonObjectInvalid, malformed("big", func(p *play) any { return p.value("big") + strings.Repeat("x", 1<<20) })},
		"no base64": {v1alpha1.ReasonObjectInvalid, func(p *play) {
			p.encrypt("db.yaml", p.secret("db", map[string]any{"data": map[string]any{"b": p.value("b") + "!"}}))
		}},
		"immutable":       {v1alpha1.ReasonApplyFailed, immutable},
		"a webhook":       {v1alpha1.ReasonApplyFailed, quoted},
		"a container":     {v1alpha1.ReasonApplyFailed, container},
		"a migration":     {v1alpha1.ReasonRunFailed, migration},
		"of another tool": {v1alpha1.ReasonOwnedByOther, func(p *play) { p.byFlux("db"); p.encrypt("db.yaml", p.secret("db", nil)) }},
		"adopted": {run: func(p *play) {
			p.byFlux("db")
			p.edit(func(s *v1alpha1.ApplicationSpec) { s.Sync.Adopt = true })
			p.encrypt("db.yaml", p.secret("db", nil))
		}},
		"no rights": {v1alpha1.ReasonForbidden, func(p *play) {
			if _, err := sandbox.Kubectl(p.t.Context(), "", "delete", "rolebinding", "deployer", "--namespace", p.ns); err != nil {
				p.t.Fatal(err)
			}
			p.until("the API server to know", p.powerless)
			p.encrypt("db.yaml", p.secret("db", nil))
		}},
		"a ConfigMap": {v1alpha1.ReasonPolicyViolated, func(p *play) {
			p.encrypt("map.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: map\ndata:\n  a: "+p.value("map")+"\n  n: "+p.number()+"\n")
		}},
		"a label and a key": {v1alpha1.ReasonPolicyViolated, func(p *play) {
			p.write(map[string]string{"kustomization.yaml": "resources: [map.yaml]\nreplacements:\n  - source: {kind: Secret, name: good, fieldPath: stringData.plain}\n" +
				"    targets: [{select: {kind: ConfigMap}, fieldPaths: [metadata.labels.a], options: {create: true}}]\n",
				"map.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: map}\n"})
			p.tamper("kustomization.yaml", func(s string) string { return strings.Replace(s, "[map.yaml]", "[map.yaml, good.yaml]", 1) })
		}},
		"a generator":         {run: func(p *play) { generator(p, true) }},
		"a generator refused": {v1alpha1.ReasonRenderFailed, func(p *play) { generator(p, false); p.unreadable() }},
		"wrong credentials": {v1alpha1.ReasonCredentialsInvalid, func(p *play) {
			p.secretBeside("git", "password", p.value("password"), map[string]string{"username": "git"})
			p.elsewhere()
		}},
		"a malformed credential": {v1alpha1.ReasonCredentialsInvalid, func(p *play) {
			p.secretBeside("git", "identity", "-----BEGIN OPENSSH PRIVATE KEY-----\n"+p.value("identity")+"\n-----END OPENSSH PRIVATE KEY-----\n", map[string]string{"known_hosts": "a ssh-ed25519 AAAA"})
			p.elsewhere()
		}},
		"a malformed key": {v1alpha1.ReasonKeyUnavailable, func(p *play) {
			p.secretBeside("beside", "a.agekey", "AGE-SECRET-KEY-1"+p.value("agekey"), nil)
			p.edit(func(s *v1alpha1.ApplicationSpec) {
				s.Secrets.SOPS.Keys[0] = v1alpha1.SOPSKey{SecretRef: &v1alpha1.LocalReference{Name: "beside"}}
			})
		}},
	}
}

// powerless reports whether the deployer may not write Secrets any more. Who may
// do what is known to the API server a moment after it was written.
func (p *play) powerless(ctx context.Context) error {
	may, err := sandbox.May(ctx, p.ns, "deployer", authorizationv1.ResourceAttributes{Namespace: p.ns, Verb: "patch", Resource: "secrets"})
	if may {
		err = errors.New("the deployer may write Secrets")
	}
	return err
}

// byFlux makes an empty Secret that Flux owns.
func (p *play) byFlux(name string) {
	p.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.ns, Labels: map[string]string{"kustomize.toolkit.fluxcd.io/name": "shop"}}}
	if err := sandbox.Client.Create(p.t.Context(), s); err != nil {
		p.t.Fatal(err)
	}
}

// number makes a canary of eight digits that may stand nowhere.
func (p *play) number() string {
	n := randomDigits()
	p.cast.add(&canary{name: p.ns + "/number", value: n})
	return n
}

func immutable(p *play) {
	p.encrypt("fixed.yaml", p.secret("fixed", map[string]any{"immutable": true, "stringData": map[string]any{"v": "first"}}))
	p.wait(v1alpha1.ReasonSucceeded, p.push())
	// The second values never get there.
	again := map[string]any{}
	for shape, value := range shapes() {
		again[shape] = value
		p.cast.add(&canary{name: p.ns + "/changed/" + shape, value: value})
	}
	p.encrypt("fixed.yaml", p.yaml(map[string]any{
		"apiVersion": "v1", "kind": "Secret", "metadata": map[string]any{"name": "fixed"}, "immutable": true, "stringData": again,
	}))
}

// container puts a number where the API server wants text: server-side apply
// quotes the value in its answer.
func container(p *play) {
	p.edit(func(s *v1alpha1.ApplicationSpec) { s.Secrets.AllowInKinds = []string{"Deployment.apps"} })
	p.write(map[string]string{".sops.yaml": strings.ReplaceAll(p.read(".sops.yaml"), "opened", "value")})
	p.encrypt("web.yaml", `apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
        - name: web
          image: registry.example/web:1
          env: [{name: PIN, value: `+p.number()+"}]\n")
}

// migration is a Job that holds a value, runs once and fails.
func migration(p *play) {
	p.edit(func(s *v1alpha1.ApplicationSpec) { s.Secrets.AllowInKinds = []string{"Job.batch"} })
	p.write(map[string]string{".sops.yaml": strings.ReplaceAll(p.read(".sops.yaml"), "opened", "value")})
	c := p.canary("password")
	c.running = p.ns
	p.encrypt("migrate.yaml", `apiVersion: batch/v1
kind: Job
metadata:
  name: migrate
  annotations: {gitseal.dev/run: Once}
spec:
  backoffLimit: 0
  template:
    metadata: {labels: {sandbox.gitseal.dev/fate: fail}}
    spec:
      restartPolicy: Never
      containers:
        - name: migrate
          image: registry.example/migrate:1
          env: [{name: PASSWORD, value: `+c.value+"}]\n")
}

// generator makes a Secret env of an encrypted file.
func generator(p *play, applied bool) {
	c := p.canary("env")
	if applied {
		c.secret, c.key = p.ns+"/env", "PASSWORD"
	}
	p.write(map[string]string{"kustomization.yaml": "resources: [good.yaml]\nsecretGenerator:\n  - name: env\n    envs: [secret.env]\n    options: {disableNameSuffixHash: true}\n"})
	p.encrypt("secret.env", "PASSWORD="+c.value+"\n")
}

// unreadable makes Kustomize fail after it has read the values.
func (p *play) unreadable() {
	p.tamper("kustomization.yaml", func(s string) string {
		return s + "patches:\n  - target: {kind: Secret, name: env}\n    patch: '[{op: replace, path: /data/ABSENT, value: x}]'\n"
	})
}

// secretBeside stores a credential next to the Application.
func (p *play) secretBeside(name, key, value string, more map[string]string) {
	p.t.Helper()
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: p.ns}, StringData: map[string]string{key: value}}
	for k, v := range more {
		s.StringData[k] = v
	}
	if err := sandbox.Client.Create(p.t.Context(), s); err != nil {
		p.t.Fatal(err)
	}
	p.cast.add(&canary{name: p.ns + "/" + name, value: value, secret: p.ns + "/" + name, key: key})
}

// elsewhere follows a repository that asks for credentials.
func (p *play) elsewhere() {
	p.t.Helper()
	repo, err := sandbox.Repo(p.t.Context(), sandbox.Sandbox.Git.PrivatePrefix+p.ns)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := repo.Push(p.t.Context(), "first"); err != nil {
		p.t.Fatal(err)
	}
	p.edit(func(s *v1alpha1.ApplicationSpec) {
		s.Source.Git.URL, s.Source.Git.SecretRef = repo.URL, &v1alpha1.LocalReference{Name: "git"}
	})
}

// quoted puts a webhook before the Secret db that repeats what it was sent in
// every field that it can.
func quoted(p *play) {
	server := httptest.NewTLSServer(http.HandlerFunc(quoteAndDeny))
	p.t.Cleanup(server.Close)
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	none := admissionregistrationv1.SideEffectClassNone
	hook := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: p.ns}}
	hook.Webhooks = []admissionregistrationv1.ValidatingWebhook{{
		Name: "quote.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: &none,
		ClientConfig:      admissionregistrationv1.WebhookClientConfig{URL: &server.URL, CABundle: authority},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: p.ns}},
		MatchConditions:   []admissionregistrationv1.MatchCondition{{Name: "db", Expression: "object.metadata.name == 'db'"}},
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
			Rule:       admissionregistrationv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"secrets"}},
		}},
	}}
	if err := sandbox.Client.Create(p.t.Context(), hook); err != nil {
		p.t.Fatal(err)
	}
	p.until("the webhook in place", func(ctx context.Context) error {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.ns, Name: "db"}}
		if err := sandbox.Client.Create(ctx, s, client.DryRunAll); err == nil {
			return errors.New("nothing is refused yet")
		}
		return nil
	})
	p.encrypt("db.yaml", p.secret("db", nil))
}

func quoteAndDeny(w http.ResponseWriter, request *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var s corev1.Secret
	_ = json.Unmarshal(review.Request.Object.Raw, &s)
	// Values come first, since long texts are cut.
	said := string(s.Data["plain"]) + " " + string(s.Data["digits"]) + " " + string(review.Request.Object.Raw)
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Warnings: []string{said}, Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReason(said), Message: said,
		Details: &metav1.StatusDetails{Name: said, Kind: said, Causes: []metav1.StatusCause{{Type: metav1.CauseType(said), Field: said, Message: said}}},
	}}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(review)
}

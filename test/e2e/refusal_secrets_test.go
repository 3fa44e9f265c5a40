package e2e

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

const twoValues = `apiVersion: v1
kind: Secret
metadata:
  name: db
stringData:
  user: "alice in the well"
  password: "correct horse"
`

// sealed writes db.yaml, encrypted, and lets change tamper with it.
func sealed(change func(string) string) func(*refused) {
	return func(r *refused) {
		r.t.Helper()
		r.encrypt("db.yaml", twoValues)
		r.tamper("db.yaml", change)
	}
}

func (s *story) tamper(file string, change func(string) string) {
	s.t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.repo.Dir, file))
	if err != nil {
		s.t.Fatal(err)
	}
	changed := change(string(raw))
	if changed == string(raw) {
		s.t.Fatalf("%s was not changed:\n%s", file, raw)
	}
	s.write(map[string]string{file: changed})
}

var ciphertext = regexp.MustCompile(`ENC\[[^\]]*\]`)

// flip changes one character of the n-th ciphertext.
func flip(n int) func(string) string {
	return func(file string) string {
		at := ciphertext.FindAllStringIndex(file, -1)[n][0] + len("ENC[AES256_GCM,data:")
		other := "A"
		if file[at] == 'A' {
			other = "B"
		}
		return file[:at] + other + file[at+1:]
	}
}

func swap(file string) string {
	found := ciphertext.FindAllString(file, -1)
	return strings.NewReplacer(found[0], found[1], found[1], found[0]).Replace(file)
}

// otherKey makes one more key and returns its name and recipient.
func (r *refused) otherKey() (name, recipient string) {
	r.t.Helper()
	name = "other-" + r.ns
	out, stderr, err := sandbox.Gitseal(r.t.Context(), r.repo.Dir, nil, "keys", "init", name, "--for", r.ns)
	if err != nil {
		r.t.Fatalf("keys init: %v\n%s", err, stderr)
	}
	return name, firstLine(out)
}

func useKey(name string) func(*v1alpha1.ApplicationSpec) {
	return func(spec *v1alpha1.ApplicationSpec) {
		spec.Secrets.SOPS.Keys = []v1alpha1.SOPSKey{{KeyRef: &v1alpha1.LocalReference{Name: name}}}
	}
}

func mendKey(r *refused) { r.edit(useKey("key-" + r.ns)) }

func TestKeysThatDoNotFit(t *testing.T) {
	t.Parallel()
	runRefusals(t, map[string]refusal{
		"a key that opens nothing": {
			change: func(r *refused) {
				name, recipient := r.otherKey()
				r.name("other", recipient)
				r.edit(useKey(name))
			},
			mend:   mendKey,
			reason: v1alpha1.ReasonDecryptionFailed,
			message: "kept-secret.yaml: the file is encrypted to {recipient}; the keys given are {other}: " +
				"encrypt it to one of these, or add a key that it names (in an Application: to spec.secrets.sops.keys)",
		},
		"a key that does not exist": {
			change:  func(r *refused) { r.edit(useKey("absent")) },
			mend:    mendKey,
			reason:  v1alpha1.ReasonKeyUnavailable,
			message: `Secret "absent" does not exist in namespace "gitseal-system": make the key: kubectl gitseal keys init absent --for {ns}`,
		},
		"a key that does not name this namespace": {
			change: func(r *refused) {
				name := "foreign-" + r.ns
				if _, stderr, err := sandbox.Gitseal(r.t.Context(), r.repo.Dir, nil, "keys", "init", name, "--for", "elsewhere"); err != nil {
					r.t.Fatalf("keys init: %v\n%s", err, stderr)
				}
				r.edit(useKey(name))
			},
			mend:   mendKey,
			reason: v1alpha1.ReasonKeyUnavailable,
			message: `key "foreign-{ns}" may not be used from namespace "{ns}": ` +
				`whoever owns the key can allow it: kubectl gitseal keys allow foreign-{ns} --for {ns}`,
		},
		"a key that is taken back from this namespace": {
			change: func(r *refused) {
				key := &corev1.Secret{ObjectMeta: meta1("key-"+r.ns, v1alpha1.OperatorNamespace)}
				patch := `{"metadata":{"annotations":{"` + v1alpha1.AnnotationAllowedNamespaces + `":null}}}`
				if err := sandbox.Client.Patch(r.t.Context(), key, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
					r.t.Fatal(err)
				}
			},
			mend: func(r *refused) {
				if _, stderr, err := sandbox.Gitseal(r.t.Context(), r.repo.Dir, nil, "keys", "allow", "key-"+r.ns, "--for", r.ns); err != nil {
					r.t.Fatalf("keys allow: %v\n%s", err, stderr)
				}
			},
			reason: v1alpha1.ReasonKeyUnavailable,
			message: `key "key-{ns}" may not be used from namespace "{ns}": ` +
				`whoever owns the key can allow it: kubectl gitseal keys allow key-{ns} --for {ns}`,
		},
		"a key that is no age identity": {
			change: func(r *refused) {
				key := &corev1.Secret{ObjectMeta: meta1("broken-"+r.ns, v1alpha1.OperatorNamespace), StringData: map[string]string{"a.agekey": "# made by hand\nAGE-SECRET-KEY-1HALF\n"}}
				key.Annotations = map[string]string{v1alpha1.AnnotationAllowedNamespaces: r.ns}
				if err := sandbox.Client.Create(r.t.Context(), key); err != nil {
					r.t.Fatal(err)
				}
				r.edit(useKey(key.Name))
			},
			mend:   mendKey,
			reason: v1alpha1.ReasonKeyUnavailable,
			message: `Secret "broken-{ns}" in namespace "gitseal-system", entry "a.agekey", line 2: malformed age identity: ` +
				`each line is an AGE-SECRET-KEY-1 or AGE-SECRET-KEY-PQ-1 identity, or a comment that begins with #`,
		},
		"a key beside the Application that the operator may not read": {
			change: func(r *refused) {
				r.edit(func(spec *v1alpha1.ApplicationSpec) {
					spec.Secrets.SOPS.Keys = []v1alpha1.SOPSKey{{SecretRef: &v1alpha1.LocalReference{Name: "sops-age"}}}
				})
			},
			mend:   mendKey,
			waits:  true,
			reason: v1alpha1.ReasonAccessDenied,
			message: `namespace "{ns}" has not let gitseal read Secret "sops-age": grant get and watch on it by name to ServiceAccount gitseal-controller ` +
				"of namespace gitseal-system, as `kubectl gitseal init` does",
		},
	})
}

func TestFilesThatCannotBeOpened(t *testing.T) {
	t.Parallel()
	restore := ": restore the file from Git history, or encrypt it again"
	runRefusals(t, map[string]refusal{
		"a file for another recipient": {
			commit: func(r *refused) {
				_, recipient := r.otherKey()
				r.name("other", recipient)
				r.tamper(".sops.yaml", func(s string) string { return strings.ReplaceAll(s, r.names["recipient"], recipient) })
				r.encrypt("db.yaml", twoValues)
			},
			reason: v1alpha1.ReasonDecryptionFailed,
			message: "db.yaml: the file is encrypted to {other}; the keys given are {recipient}: " +
				"encrypt it to one of these, or add a key that it names (in an Application: to spec.secrets.sops.keys)",
		},
		"tampered ciphertext": {
			commit:  sealed(flip(1)),
			reason:  v1alpha1.ReasonDecryptionFailed,
			message: `db.yaml:7: the value of "stringData.password" does not authenticate: it was changed, or moved here from another key or file` + restore,
		},
		"a tampered MAC": {
			commit: func(r *refused) {
				sealed(flip(2))(r)
				r.name("line", r.lineOf("db.yaml", "    mac:"))
			},
			reason:  v1alpha1.ReasonDecryptionFailed,
			message: `db.yaml:{line}: the sops MAC does not authenticate: it or lastmodified was changed` + restore,
		},
		"a value that is left out": {
			commit:  sealed(func(s string) string { return dropLine(s, "    user: ") }),
			reason:  v1alpha1.ReasonDecryptionFailed,
			message: `db.yaml: the sops MAC does not match: a value, encrypted or not, was changed, added, removed or moved after encryption` + restore,
		},
		"a plain field changed after encryption": {
			commit:  sealed(func(s string) string { return strings.Replace(s, "name: db", "name: kept-secret", 1) }),
			reason:  v1alpha1.ReasonDecryptionFailed,
			message: `db.yaml: the sops MAC does not match: a value, encrypted or not, was changed, added, removed or moved after encryption` + restore,
		},
		"a value swapped between two keys": {
			commit:  sealed(swap),
			reason:  v1alpha1.ReasonDecryptionFailed,
			message: `db.yaml:6: the value of "stringData.user" does not authenticate: it was changed, or moved here from another key or file` + restore,
		},
		"a value put in plain text among ciphertext": {
			commit:  sealed(func(s string) string { return ciphertext.ReplaceAllStringFunc(s, replaceFirst("plain as day")) }),
			reason:  v1alpha1.ReasonDecryptionFailed,
			message: `db.yaml:6: the value of "stringData.user" is in plain text, but the file's rule says that it is encrypted: change the secret, since Git keeps it for ever, and encrypt the file again`,
		},
		"a file cut off before its metadata": {
			commit: sealed(func(s string) string { return s[:strings.Index(s, "sops:")] }),
			reason: v1alpha1.ReasonDecryptionFailed,
			message: `db.yaml:6: SOPS ciphertext in a file without sops metadata; it would be applied as if it were the value: ` +
				`the file is truncated or was edited by hand: restore it from Git history`,
		},
		"a file cut off within its metadata": {
			commit:  sealed(func(s string) string { return s[:strings.Index(s, "    mac:")] }),
			reason:  v1alpha1.ReasonDecryptionFailed,
			message: `db.yaml: the file has no sops MAC, so that nobody can tell whether it was changed` + restore,
		},
		"a file of an unsupported key type": {
			commit:  sealed(onlyPGP),
			reason:  v1alpha1.ReasonDecryptionFailed,
			message: `db.yaml: the file is encrypted with pgp only, and gitseal opens age: add an age recipient to the file, for example {recipient}`,
		},
	})
}

func dropLine(s, prefix string) string {
	var kept []string
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, prefix) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

// replaceFirst replaces what it is called with the first time.
func replaceFirst(with string) func(string) string {
	done := false
	return func(s string) string {
		if done {
			return s
		}
		done = true
		return with
	}
}

var agePart = regexp.MustCompile(`(?s)    age:\n.*?    encrypted_regex`)

// onlyPGP replaces the age recipients by one of PGP.
func onlyPGP(s string) string {
	return agePart.ReplaceAllString(s, `    pgp:
        - created_at: "2026-01-01T00:00:00Z"
          enc: |-
            -----BEGIN PGP MESSAGE-----
            hQIMA
            -----END PGP MESSAGE-----
          fp: FBC7B9E2A4F9289AC0C1D4843D16CEE4A27381B4
    encrypted_regex`)
}

func TestSecretsThatBreakThePolicy(t *testing.T) {
	t.Parallel()
	runRefusals(t, map[string]refusal{
		"a plain Secret under policy SOPS": {
			commit: files(map[string]string{"deep/db.yaml": configMap("other", "1") + "---\n" + twoValues}),
			reason: v1alpha1.ReasonPolicyViolated,
			message: `deep/db.yaml:6: Secret "db" carries plain data at key "password" under policy SOPS; deep/db.yaml:6: Secret "db" carries plain data at key "user" under policy SOPS: ` +
				`encrypt it with kubectl gitseal encrypt, or allow it in spec.secrets.exceptions`,
		},
		"a SealedSecret under policy SOPS": {
			commit:  files(map[string]string{"sealed.yaml": "apiVersion: bitnami.com/v1alpha1\nkind: SealedSecret\nmetadata: {name: db}\nspec: {encryptedData: {a: AgB}}\n"}),
			reason:  v1alpha1.ReasonPolicyViolated,
			message: `sealed.yaml:1: SealedSecret "db" needs policy Sealed and is refused under policy SOPS: remove it, or keep it in an Application with policy Sealed`,
		},
		"an ExternalSecret under policy SOPS": {
			commit:  files(map[string]string{"external.yaml": "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: db}\nspec: {secretStoreRef: {name: a}}\n"}),
			reason:  v1alpha1.ReasonPolicyViolated,
			message: `external.yaml:1: ExternalSecret "db" needs policy External and is refused under policy SOPS: remove it, or keep it in an Application with policy External`,
		},
		"an opened value in a ConfigMap": {
			commit: func(r *refused) {
				r.encrypt("config.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: leaky\ndata:\n  key: a value to keep\n")
			},
			reason:  v1alpha1.ReasonPolicyViolated,
			message: `config.yaml:1: ConfigMap "leaky" holds an opened value at data.key, and only a Secret may: use a Secret, or list ConfigMap in spec.secrets.allowInKinds: whoever may read that kind then reads the value`,
		},
		"a plain Secret under policy None": {
			plain:  true,
			commit: files(map[string]string{"db.yaml": plainSecret("db", "x")}),
			reason: v1alpha1.ReasonPolicyViolated,
			message: `db.yaml:1: Secret "db" carries data at key "password" under policy None: ` +
				`encrypt it and set policy SOPS, or allow it in spec.secrets.exceptions`,
		},
		"a Secret with SOPS metadata under policy None": {
			plain: true,
			commit: func(r *refused) {
				recipient := r.keyOnly()
				r.write(map[string]string{".sops.yaml": "creation_rules:\n  - encrypted_regex: ^stringData$\n    age: " + recipient + "\n"})
				r.encrypt("db.yaml", twoValues)
			},
			reason:  v1alpha1.ReasonPolicyViolated,
			message: `db.yaml:1: Secret "db" is encrypted with SOPS and is refused under policy None: set policy SOPS, which opens it`,
		},
	})
}

func files(f map[string]string) func(*refused) {
	return func(r *refused) { r.write(f) }
}

// keyOnly makes a key that the Application does not use.
func (r *refused) keyOnly() (recipient string) {
	r.t.Helper()
	_, recipient = r.otherKey()
	return recipient
}

func (s *story) lineOf(file, prefix string) string {
	s.t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.repo.Dir, file))
	if err != nil {
		s.t.Fatal(err)
	}
	for i, line := range strings.Split(string(raw), "\n") {
		if strings.HasPrefix(line, prefix) {
			return strconv.Itoa(i + 1)
		}
	}
	s.t.Fatalf("%s has no line %q", file, prefix)
	return ""
}

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

// follow points the Application at another repository, as it is now.
func (r *refused) follow(url string, credentials string) {
	r.t.Helper()
	r.edit(func(spec *v1alpha1.ApplicationSpec) {
		spec.Source.Git.URL = url
		spec.Source.Git.SecretRef = nil
		if credentials != "" {
			spec.Source.Git.SecretRef = &v1alpha1.LocalReference{Name: credentials}
		}
	})
}

func mendURL(r *refused) { r.follow(r.repo.URL, "") }

// private makes a repository that asks for credentials and holds one object.
func (s *story) private() *rig.Repo {
	s.t.Helper()
	repo, err := sandbox.Repo(s.t.Context(), sandbox.Sandbox.Git.PrivatePrefix+s.ns)
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := repo.Commit(s.t.Context(), "private", map[string]string{"kept.yaml": configMap("kept", "private")}); err != nil {
		s.t.Fatal(err)
	}
	return repo
}

// credentials makes a Secret beside the Application and lets the operator
// read it.
func (s *story) credentials(name string, data map[string]string) {
	s.t.Helper()
	secret := &corev1.Secret{ObjectMeta: meta1(name, s.ns), StringData: data}
	if err := sandbox.Client.Create(s.t.Context(), secret); err != nil {
		s.t.Fatal(err)
	}
	s.letIn("edit", name)
}

// letIn applies what a namespace needs, with the right to read the Secrets.
func (s *story) letIn(clusterRole string, secrets ...string) {
	s.t.Helper()
	if _, err := sandbox.Kubectl(s.t.Context(), rig.Access(s.ns, clusterRole, secrets...), "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
		s.t.Fatal(err)
	}
}

func TestRepositoriesThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	runRefusals(t, map[string]refusal{
		"an unreachable repository": {
			plain:   true,
			change:  func(r *refused) { r.follow("http://127.0.0.1:9/none.git", "") },
			mend:    mendURL,
			waits:   true,
			reason:  v1alpha1.ReasonSourceUnavailable,
			message: `repository http://127.0.0.1:9/none.git is unreachable: connection refused`,
		},
		"a repository that is not there": {
			plain: true,
			change: func(r *refused) {
				r.name("other", sandbox.Sandbox.Git.URL+"/absent.git")
				r.follow(r.names["other"], "")
			},
			mend:    mendURL,
			reason:  v1alpha1.ReasonSourceInvalid,
			message: `repository {other} is not found: check spec.source.git.url; servers also say so of repositories that the credentials may not read`,
		},
		"an address where no repository can be": {
			plain:   true,
			change:  func(r *refused) { r.follow("http://169.254.169.254/latest/meta-data", "") },
			mend:    mendURL,
			reason:  v1alpha1.ReasonSourceInvalid,
			message: `repository http://169.254.169.254/latest/meta-data is refused: the host has a link-local, metadata, multicast or unspecified address: use an address that is a Git server's own`,
		},
		"no credentials": {
			plain: true,
			change: func(r *refused) {
				r.name("other", r.private().URL)
				r.follow(r.names["other"], "")
			},
			mend:   mendURL,
			reason: v1alpha1.ReasonCredentialsInvalid,
			message: `repository {other} asks for credentials: name a Secret with username and password, or bearerToken, in spec.source.git.secretRef; ` +
				`if the repository is public, check the URL`,
		},
		"wrong credentials": {
			plain: true,
			change: func(r *refused) {
				r.name("other", r.private().URL)
				r.credentials("git", map[string]string{"username": "git", "password": "not this one"})
				r.follow(r.names["other"], "git")
			},
			mend:   mendURL,
			reason: v1alpha1.ReasonCredentialsInvalid,
			message: `repository {other} does not accept the credentials (HTTP status 401): ` +
				`check username and password, or bearerToken, in the Secret and that they may read the repository`,
		},
		"credentials that do not exist": {
			plain: true,
			change: func(r *refused) {
				r.letIn("edit", "git")
				r.follow(r.repo.URL, "git")
			},
			mend:    mendURL,
			reason:  v1alpha1.ReasonCredentialsInvalid,
			message: `Secret "git" does not exist in namespace "{ns}": create it; the sync goes on by itself`,
		},
		"credentials that the operator may not read": {
			plain:  true,
			change: func(r *refused) { r.follow(r.repo.URL, "git") },
			mend:   mendURL,
			waits:  true,
			reason: v1alpha1.ReasonAccessDenied,
			message: `namespace "{ns}" has not let gitseal read Secret "git": grant get and watch on it by name to ServiceAccount gitseal-controller ` +
				"of namespace gitseal-system, as `kubectl gitseal init` does",
		},
		"an empty repository": {
			plain: true,
			change: func(r *refused) {
				empty, err := sandbox.Repo(r.t.Context(), "empty-"+r.ns)
				if err != nil {
					r.t.Fatal(err)
				}
				r.name("other", empty.URL)
				r.follow(empty.URL, "")
			},
			mend:    mendURL,
			reason:  v1alpha1.ReasonSourceInvalid,
			message: `repository {other} is empty: push a commit`,
		},
		"a missing branch": {
			plain:   true,
			change:  func(r *refused) { r.edit(branch("production")) },
			mend:    func(r *refused) { r.edit(branch("main")) },
			reason:  v1alpha1.ReasonSourceInvalid,
			message: `repository {url} has no branch "production": it has the branches main; correct spec.source.git.ref`,
		},
		"a missing path": {
			plain:   true,
			change:  func(r *refused) { r.edit(path("envs/prod")) },
			mend:    func(r *refused) { r.edit(path(".")) },
			reason:  v1alpha1.ReasonSourceInvalid,
			message: `path "envs/prod" is not in the repository: set spec.source.path to a directory that the revision holds`,
		},
		"a path that renders nothing": {
			plain:   true,
			prepare: files(map[string]string{"none/README.md": "nothing here"}),
			change:  func(r *refused) { r.edit(path("none")) },
			mend:    func(r *refused) { r.edit(path(".")) },
			reason:  v1alpha1.ReasonRenderFailed,
			message: `path "none" renders no objects; nothing is applied and nothing is pruned: add a manifest, or delete the Application to remove its objects`,
		},
	})
}

func branch(name string) func(*v1alpha1.ApplicationSpec) {
	return func(spec *v1alpha1.ApplicationSpec) { spec.Source.Git.Ref = v1alpha1.GitRef{Branch: name} }
}

func path(name string) func(*v1alpha1.ApplicationSpec) {
	return func(spec *v1alpha1.ApplicationSpec) { spec.Source.Path = name }
}

func TestFilesThatAreNotAcceptable(t *testing.T) {
	t.Parallel()
	runRefusals(t, map[string]refusal{
		"a symbolic link out of the repository": {
			plain:   true,
			commit:  link("db.yaml", "../../../../etc/passwd"),
			reason:  v1alpha1.ReasonSourceInvalid,
			message: `"db.yaml" in repository {url} is a symbolic link that leaves the repository: replace it with the file itself or with a link to a file in the repository`,
		},
		"a symbolic link to an absolute path": {
			plain:   true,
			commit:  link("db.yaml", "/proc/self/environ"),
			reason:  v1alpha1.ReasonSourceInvalid,
			message: `"db.yaml" in repository {url} is a symbolic link that leaves the repository: replace it with the file itself or with a link to a file in the repository`,
		},
		"a file of 200 MB": {
			plain:   true,
			commit:  big,
			reason:  v1alpha1.ReasonSourceInvalid,
			message: `"big.yaml" in repository {url} is over the limit of 4 MiB: split it, or keep it out of what is applied`,
		},
		"100,000 files": {
			plain:   true,
			commit:  many,
			reason:  v1alpha1.ReasonSourceInvalid,
			message: `"many" in repository {url} has more than the limit of 20000 entries in one directory: spread them over several directories`,
		},
		"a YAML bomb": {
			plain:   true,
			commit:  files(map[string]string{"bomb.yaml": bomb()}),
			reason:  v1alpha1.ReasonRenderFailed,
			message: "bomb.yaml:5: aliases expand to more than 50000 nodes: write the values out instead of repeating aliases",
		},
		"invalid YAML": {
			plain:   true,
			commit:  files(map[string]string{"new.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n bad: [\n"}),
			reason:  v1alpha1.ReasonRenderFailed,
			message: `new.yaml:4: is not valid YAML: did not find expected key`,
		},
		"no manifest": {
			plain:  true,
			commit: files(map[string]string{"values.yaml": "replicas: 3\n"}),
			reason: v1alpha1.ReasonRenderFailed,
			message: `values.yaml:1: has no apiVersion: make it a manifest, move it out of spec.source.path, ` +
				`or add a kustomization that lists what to apply`,
		},
		"an object defined twice": {
			plain:   true,
			commit:  files(map[string]string{"new.yaml": configMap("other", "1") + "---\n" + configMap("kept", "other")}),
			reason:  v1alpha1.ReasonRenderFailed,
			message: `new.yaml:6: ConfigMap "kept" is already in kept.yaml:1: remove one of the two`,
		},
		"an object defined twice by its namespace": {
			plain:   true,
			commit:  files(map[string]string{"new.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: kept, namespace: an-object-defined-twice-by-its-namespace}\n"}),
			reason:  v1alpha1.ReasonObjectInvalid,
			message: `new.yaml:1: ConfigMap "kept" in namespace "{ns}" is already defined at kept.yaml:1: remove one of the two`,
		},
	})
}

func link(name, to string) func(*refused) {
	return func(r *refused) {
		if err := os.Symlink(to, filepath.Join(r.repo.Dir, name)); err != nil {
			r.t.Fatal(err)
		}
	}
}

const bigBytes = 200 << 20

// big writes a file of 200 MB that compresses well, for the test's own sake.
func big(r *refused) {
	r.t.Helper()
	r.git("config", "core.compression", "1")
	if err := os.WriteFile(filepath.Join(r.repo.Dir, "big.yaml"), nil, 0o644); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(r.repo.Dir, "big.yaml"), bigBytes); err != nil {
		r.t.Fatal(err)
	}
}

const manyFiles = 100_000

// many puts as many files into the index, without writing them to a disk.
func many(r *refused) {
	r.t.Helper()
	r.write(map[string]string{"one.yaml": configMap("one", "x")})
	blob := r.git("hash-object", "-w", "one.yaml")
	var index strings.Builder
	for i := range manyFiles {
		fmt.Fprintf(&index, "100644 %s\tmany/%d.yaml\n", blob, i)
	}
	c := exec.CommandContext(r.t.Context(), "git", "update-index", "--index-info")
	c.Dir, c.Stdin = r.repo.Dir, strings.NewReader(index.String())
	if out, err := c.CombinedOutput(); err != nil {
		r.t.Fatalf("git update-index: %v\n%s", err, out)
	}
	// Else the commit that follows would take out what is not on the disk.
	r.git("sparse-checkout", "set", "--no-cone", "/*", "!/many/")
}

func bomb() string {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: bomb}\ndata:\n  a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n")
	for i := 1; i < 9; i++ {
		fmt.Fprintf(&b, "  a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", i-1), 10), ","))
	}
	return b.String()
}

func TestALargeFileBesideTheManifestsDoesNoHarm(t *testing.T) {
	t.Parallel()
	s := newStory(t, "large-file-beside")
	s.write(map[string]string{"deploy/kept.yaml": configMap("kept", "one")})
	if err := os.WriteFile(filepath.Join(s.repo.Dir, "film.mp4"), make([]byte, 20<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	s.app.Spec.Source.Path = "deploy"
	commit := s.push("first")
	s.create()
	s.waitReady(commit)
}

func TestAForcePushIsFollowed(t *testing.T) {
	t.Parallel()
	s := newStory(t, "force-push")
	s.write(map[string]string{"a.yaml": configMap("a", "1"), "b.yaml": configMap("b", "1")})
	s.push("first")
	s.write(map[string]string{"c.yaml": configMap("c", "1")})
	commit := s.push("second")
	s.create()
	s.waitReady(commit)

	s.git("checkout", "--quiet", "--orphan", "rewritten")
	s.git("rm", "-rfq", "--cached", ".")
	s.write(map[string]string{"a.yaml": configMap("a", "2"), "b.yaml": "", "c.yaml": "", "d.yaml": configMap("d", "1")})
	s.waitReady(s.push("another history"))
	eventually(t, "the state is that of the new tree", func(ctx context.Context) error {
		a, err := get(ctx, s, "a", &corev1.ConfigMap{})
		if err != nil || a.Data["key"] != "2" {
			return fmt.Errorf("ConfigMap a: %w, data %v", err, a.Data)
		}
		if _, err := get(ctx, s, "d", &corev1.ConfigMap{}); err != nil {
			return err
		}
		for _, gone := range []string{"b", "c"} {
			if _, err := get(ctx, s, gone, &corev1.ConfigMap{}); !apierrors.IsNotFound(err) {
				return fmt.Errorf("ConfigMap %s: %w, want it pruned", gone, err)
			}
		}
		return nil
	})
}

// What admission refuses never reaches the operator.
func TestSpecsThatAreRefusedAtAdmission(t *testing.T) {
	t.Parallel()
	s := newStory(t, "admission")
	sops := &v1alpha1.SOPS{Keys: []v1alpha1.SOPSKey{{KeyRef: &v1alpha1.LocalReference{Name: "a"}}}}
	const onePolicy = "spec.secrets: Invalid value: policy SOPS needs the sops block, and no other policy may have it"
	const inside = "spec.source.path: Invalid value: %q: path must be relative to the repository and must not contain '..'"
	tests := map[string]struct {
		change func(*v1alpha1.ApplicationSpec)
		want   string
	}{
		"policy None with the sops block":  {func(a *v1alpha1.ApplicationSpec) { a.Secrets.SOPS = sops }, onePolicy},
		"policy SOPS without its block":    {func(a *v1alpha1.ApplicationSpec) { a.Secrets.Policy = v1alpha1.PolicySOPS }, onePolicy},
		"a path out of the repository":     {path("../other"), fmt.Sprintf(inside, "../other")},
		"a path out of it and in again":    {path("a/../../b"), fmt.Sprintf(inside, "a/../../b")},
		"an absolute path":                 {path("/etc"), fmt.Sprintf(inside, "/etc")},
		"a key of both kinds":              {bothRefs, "spec.secrets.sops.keys[0]: Invalid value: a key takes one of keyRef and secretRef"},
		"a branch and a tag":               {func(a *v1alpha1.ApplicationSpec) { a.Source.Git.Ref = v1alpha1.GitRef{Branch: "a", Tag: "b"} }, "spec.source.git.ref: Invalid value: ref takes one of branch, tag, semver and commit"},
		"a password in the URL":            {func(a *v1alpha1.ApplicationSpec) { a.Source.Git.URL = "https://a:b@example.com/c.git" }, `spec.source.git: Invalid value: url must not hold a password; put it in a Secret and name it in secretRef`},
		"a file on the operator's machine": {func(a *v1alpha1.ApplicationSpec) { a.Source.Git.URL = "file:///etc" }, `spec.source.git.url: Invalid value: "file:///etc": url must begin with http://, https:// or ssh:// and name a repository`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			app := s.app.DeepCopy()
			tt.change(&app.Spec)
			err := sandbox.Client.Create(t.Context(), app)
			want := fmt.Sprintf("Application.gitseal.dev %q is invalid: %s", app.Name, tt.want)
			if !apierrors.IsInvalid(err) || err.Error() != want {
				t.Errorf("create: %v\nwant: %s", err, want)
			}
		})
	}
}

func bothRefs(a *v1alpha1.ApplicationSpec) {
	a.Secrets = v1alpha1.Secrets{Policy: v1alpha1.PolicySOPS, SOPS: &v1alpha1.SOPS{Keys: []v1alpha1.SOPSKey{{
		KeyRef: &v1alpha1.LocalReference{Name: "a"}, SecretRef: &v1alpha1.LocalReference{Name: "b"},
	}}}}
}

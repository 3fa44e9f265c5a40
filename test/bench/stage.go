package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/test/rig"
)

// parallel is how many requests the benchmark has in flight, as the operator.
const parallel = 32

// keyName is the Secret with the age key.
const keyName = "bench"

// stage is a sandbox of its own with one workload in its Git server. Scenarios
// play on it one after the other.
type stage struct {
	workload   workload
	controller *controller
	rig        *rig.Rig
	repo       *rig.Repo
	beside     *rig.Repo // of a neighbour, once there is one
	dir        string
	commit     string
	ageKey     string
	objects    []object
	keeper     keeper // nil: the workload asks nobody for values

	calls   *callCounter
	config  *rest.Config
	dynamic dynamic.Interface
	raw     rest.Interface

	rounds  int // namespaces made so far
	apps    []values
	running *running
}

// newStage starts a sandbox and fills a repository.
func newStage(ctx context.Context, w workload, c *controller) (*stage, error) {
	dir, err := os.MkdirTemp("", "gitseal-bench-")
	if err != nil {
		return nil, err
	}
	s := &stage{workload: w, controller: c, dir: dir, calls: newCallCounter(), objects: w.manifests()}
	say("%s: starting a sandbox", w.name)
	if s.rig, err = rig.Start(ctx, dir); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	if err := s.furnish(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stage) furnish(ctx context.Context) (err error) {
	if err := s.connect(); err != nil {
		return err
	}
	if s.keeper, err = newKeeper(ctx, s.workload.keeper); err != nil {
		return err
	}
	if err := s.fillRepository(ctx); err != nil {
		return err
	}
	return s.install(ctx)
}

func (s *stage) close() error {
	err := s.halt()
	if s.keeper != nil {
		err = errors.Join(err, s.keeper.close())
	}
	return errors.Join(err, s.rig.Close(), os.RemoveAll(s.dir))
}

// halt stops the controller.
func (s *stage) halt() error {
	if s.running == nil {
		return nil
	}
	stop := s.running.stop
	s.running = nil
	return stop()
}

func (s *stage) connect() (err error) {
	s.config = rest.CopyConfig(s.rig.Config)
	s.config.QPS = -1
	s.config.Wrap(s.calls.wrap)
	if s.dynamic, err = dynamic.NewForConfig(s.config); err != nil {
		return err
	}
	s.raw, err = newRawClient(s.config)
	return err
}

// fillRepository writes one file per object. The Secrets are encrypted by the
// CLI, unless the controller cannot open them.
func (s *stage) fillRepository(ctx context.Context) error {
	var err error
	if s.repo, err = s.rig.Repo(ctx, "bench"); err != nil {
		return err
	}
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	s.ageKey = identity.String()
	files := map[string]string{".sops.yaml": "creation_rules:\n  - encrypted_regex: ^(data|stringData)$\n    age: " + identity.Recipient().String()}
	encrypt := []string{"encrypt", "-i"}
	for _, o := range s.objects {
		files[o.file()] = o.inGit()
		if o.kind == secret {
			encrypt = append(encrypt, o.file())
		}
	}
	if s.keeper != nil {
		maps.Copy(files, plainFiles())
	}
	if err := s.repo.Write(files); err != nil {
		return err
	}
	if s.controller.Secrets == "sops" && len(encrypt) > 2 {
		say("%s: encrypting %d files", s.workload.name, len(encrypt)-2)
		if _, stderr, err := s.rig.Gitseal(ctx, s.repo.Dir, nil, encrypt...); err != nil {
			return fmt.Errorf("encrypt: %w\n%s", err, stderr)
		}
	}
	if s.commit, err = s.repo.Push(ctx, "everything"); err != nil {
		return err
	}
	return s.createKey(ctx, identity)
}

// createKey makes the key that all namespaces of all rounds may use.
func (s *stage) createKey(ctx context.Context, identity *age.X25519Identity) error {
	var allowed []string
	for round := range maxRounds {
		for i := range s.workload.namespaces {
			allowed = append(allowed, namespace(round, i))
		}
	}
	key := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: v1alpha1.OperatorNamespace, Name: keyName,
			Annotations: map[string]string{v1alpha1.AnnotationAllowedNamespaces: strings.Join(allowed, ",")},
		},
		StringData: map[string]string{"identity" + v1alpha1.AgeKeySuffix: identity.String()},
	}
	return s.rig.Client.Create(ctx, key)
}

func (s *stage) install(ctx context.Context) error {
	for _, file := range s.controller.Install {
		path, err := fill(file, s.common())
		if err != nil {
			return err
		}
		if _, err := s.rig.Kubectl(ctx, "", "apply", "--server-side", "-f", path); err != nil {
			return err
		}
	}
	return s.applyText(ctx, s.controller.Setup, s.common())
}

// common are the values that all Applications share.
func (s *stage) common() values {
	return values{URL: s.repo.URL, Branch: "main", Commit: s.commit, Objects: s.workload.objectsEach(), Interval: "1h", Key: keyName, AgeKey: s.ageKey, Root: s.rig.Root, Dir: s.dir, Secrets: s.policy()}
}

// policy is spec.secrets of the workload's Applications.
func (s *stage) policy() string {
	if s.keeper != nil {
		return "{policy: External}"
	}
	return fmt.Sprintf("{policy: SOPS, sops: {keys: [{keyRef: {name: %s}}]}}", keyName)
}

func namespace(round, i int) string { return fmt.Sprintf("round-%d-%d", round, i) }

// prepare makes the namespaces of a new round and says what its Applications
// are to be. What an earlier round has made stays, with nobody to look after it.
func (s *stage) prepare(ctx context.Context) error {
	if s.rounds == maxRounds {
		return fmt.Errorf("%s: more than %d rounds", s.workload.name, maxRounds)
	}
	round := s.rounds
	s.rounds++
	for i := range s.workload.namespaces {
		if err := s.rig.Namespace(ctx, namespace(round, i), s.credentials()...); err != nil {
			return err
		}
		if s.keeper != nil {
			if err := s.applyText(ctx, s.keeper.manifests(namespace(round, i)), s.common()); err != nil {
				return err
			}
		}
		v := s.common()
		v.Namespace = namespace(round, i)
		if err := s.applyText(ctx, s.controller.Shared, v); err != nil {
			return err
		}
	}
	s.apps = nil
	for app := range s.workload.apps {
		v := s.common()
		v.Name, v.Path, v.Namespace = appName(app), appName(app), namespace(round, app%s.workload.namespaces)
		s.apps = append(s.apps, v)
	}
	return nil
}

// retire deletes the Applications of the last round, and not what they have
// made, while no controller looks.
func (s *stage) retire(ctx context.Context) error {
	if err := s.halt(); err != nil {
		return err
	}
	return s.eachApp(func(v values) error {
		apps := s.dynamic.Resource(s.controller.Resource).Namespace(v.Namespace)
		_, err := apps.Patch(ctx, v.Name, types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{})
		if err == nil {
			err = apps.Delete(ctx, v.Name, metav1.DeleteOptions{})
		}
		if apierrors.IsNotFound(err) {
			return nil
		}
		return err
	})
}

func (s *stage) eachApp(do func(values) error) error {
	var g errgroup.Group
	g.SetLimit(parallel)
	for _, v := range s.apps {
		g.Go(func() error { return do(v) })
	}
	return g.Wait()
}

// start starts the controller.
func (s *stage) start(ctx context.Context, more ...string) (err error) {
	s.running, err = s.controller.start(ctx, s.rig, s.common(), more...)
	return err
}

// declare creates the Applications, or gives them another interval.
func (s *stage) declare(ctx context.Context, interval string) error {
	return s.eachApp(func(v values) error {
		v.Interval = interval
		return s.applyText(ctx, s.controller.Application, v)
	})
}

// push commits files and makes their commit the one that all wait for.
func (s *stage) push(ctx context.Context, files map[string]string) error {
	if err := s.repo.Write(files); err != nil {
		return err
	}
	commit, err := s.repo.Push(ctx, "change")
	if err != nil {
		return err
	}
	s.commit = commit
	for i := range s.apps {
		s.apps[i].Commit = commit
	}
	return nil
}

// request asks for a sync of one Application.
func (s *stage) request(ctx context.Context, v values) error {
	patch, err := fill(s.controller.Request, v)
	if err != nil {
		return err
	}
	_, err = s.dynamic.Resource(s.controller.Resource).Namespace(v.Namespace).
		Patch(ctx, v.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	return err
}

func now() string { return strconv.FormatInt(time.Now().UnixNano(), 10) }

// gitRequests is how often the Git server was asked so far.
func (s *stage) gitRequests() int {
	log, err := os.ReadFile(filepath.Join(s.dir, "logs", "git.log"))
	if err != nil {
		return 0
	}
	return bytes.Count(log, []byte("git-upload-pack"))
}

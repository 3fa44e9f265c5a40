package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// job runs once; more is more annotations, fate a label of the sandbox, and
// image its content.
func job(name, more, fate, image string) string {
	return fmt.Sprintf(`apiVersion: batch/v1
kind: Job
metadata: {name: %s, annotations: {gitseal.dev/run: Once%s}}
spec:
  backoffLimit: 0
  ttlSecondsAfterFinished: 0
  template:
    metadata: {labels: {sandbox.gitseal.dev/fate: "%s"}}
    spec:
      serviceAccountName: migrator
      restartPolicy: Never
      containers: [{name: main, image: %q, envFrom: [{configMapRef: {name: settings}}]}]
`, name, more, fate, image)
}

const migrator = "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: migrator}\n"

// waitJob waits for a Job that is not the one of a UID, and returns it.
func (s *story) waitJob(name string, not types.UID) *batchv1.Job {
	s.t.Helper()
	var found *batchv1.Job
	eventually(s.t, "Job "+name, func(ctx context.Context) (err error) {
		if found, err = get(ctx, s, name, &batchv1.Job{}); err == nil && found.UID == not {
			err = errors.New("it is still the old one")
		}
		return err
	})
	return found
}

// run returns what the status says of a run-once object.
func (s *story) run(name string) v1alpha1.RunStatus {
	s.t.Helper()
	app, err := s.read(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	for _, r := range app.Status.Runs {
		if r.Name == name {
			return r
		}
	}
	return v1alpha1.RunStatus{}
}

// still reports an error unless a Job is the one of a UID.
func (s *story) still(name string, uid types.UID) error {
	j, err := get(s.t.Context(), s, name, &batchv1.Job{})
	if err == nil && j.UID != uid {
		return fmt.Errorf("Job %s ran again", name)
	}
	return err
}

func (s *story) noJob(name string) error {
	if _, err := get(s.t.Context(), s, name, &batchv1.Job{}); !apierrors.IsNotFound(err) {
		return fmt.Errorf("Job %s is there: %w", name, err)
	}
	return nil
}

func TestAMigrationRunsOnceAndFirst(t *testing.T) {
	t.Parallel()
	s := newStory(t, "migration")
	s.write(map[string]string{"job.yaml": job("migrate", "", "never-ready", "registry.example/app:1"), "sa.yaml": migrator,
		"settings.yaml": configMap("settings", "1"), "web.yaml": wavedDeployment("web", 0, "")})
	s.create()
	commit := s.push("first")
	s.waitProgress(`waiting for the end of Job "migrate" in namespace "migration": it has not completed yet`)
	first := s.waitJob("migrate", "")
	s.wantConfig("settings", "1")
	if r := s.run("migrate"); r.State != v1alpha1.RunStarted || r.Revision != "main@sha1:"+commit || r.Digest == "" {
		t.Errorf("status.runs has %+v, want it started", r)
	}
	if _, err := get(t.Context(), s, "web", &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
		t.Errorf("Deployment web: %v, want it to come after the migration", err)
	}
	s.heal("job-name", "migrate")
	app := s.waitReady(commit)
	if r := s.run("migrate"); r.State != v1alpha1.RunSucceeded || r.EndedAt == nil {
		t.Errorf("status.runs has %+v, want it to have succeeded", r)
	}
	if got := app.Status.Resources; got.Desired != 4 || got.Applied != 4 {
		t.Errorf("resources %+v, want 4 of 4 applied", got)
	}

	// Another revision with the same Job, and the loss of the Job, start nothing.
	s.write(map[string]string{"settings.yaml": configMap("settings", "2")})
	s.waitReady(s.push("other"))
	if err := s.still("migrate", first.UID); err != nil {
		t.Error(err)
	}
	s.kubectl("", "-n", s.ns, "delete", "job", "migrate")
	s.looked()
	if err := s.noJob("migrate"); err != nil {
		t.Error(err)
	}

	s.write(map[string]string{"job.yaml": job("migrate", "", "", "registry.example/app:2")})
	s.waitReady(s.push("new content"))
	second := s.waitJob("migrate", first.UID)

	// An ended Job makes room for the next one.
	s.write(map[string]string{"job.yaml": job("migrate", "", "", "registry.example/app:3")})
	s.waitReady(s.push("newer content"))
	s.waitJob("migrate", second.UID)

	s.write(map[string]string{"job.yaml": ""})
	s.waitReady(s.push("without"))
	eventually(t, "the Job is pruned", func(context.Context) error { return s.noJob("migrate") })
	if r := s.run("migrate"); r.Name != "" {
		t.Errorf("status.runs still has %+v", r)
	}
}

func TestAFailedMigrationStopsTheSync(t *testing.T) {
	t.Parallel()
	s := newStory(t, "failed-migration")
	s.write(map[string]string{"sa.yaml": migrator, "settings.yaml": configMap("settings", "1"), "old.yaml": configMap("old", "1"), "service.yaml": service})
	s.create()
	s.waitReady(s.push("first"))
	s.write(map[string]string{"job.yaml": job("migrate", "", "fail", "registry.example/app:1"), "old.yaml": "", "web.yaml": wavedDeployment("web", 0, "")})
	s.push("failing")
	s.waitMessage(v1alpha1.ReasonRunFailed,
		`job.yaml:1: Job "migrate" in namespace "failed-migration": it has failed (BackoffLimitExceeded): correct it in Git, or delete the Job in the cluster to run it once more`)
	first := s.waitJob("migrate", "")
	s.kubectl("", "-n", s.ns, "delete", "service", "web") // the last good state is kept
	eventually(t, "the Service is put back", func(ctx context.Context) error {
		_, err := get(ctx, s, "web", &corev1.Service{})
		return err
	})
	s.looked()
	if err := s.still("migrate", first.UID); err != nil {
		t.Error(err)
	}
	s.wantConfig("old", "1")
	if _, err := get(t.Context(), s, "web", &appsv1.Deployment{}); !apierrors.IsNotFound(err) {
		t.Errorf("Deployment web: %v, want nothing after the failure", err)
	}

	// Whoever deletes it wants it to run again.
	s.kubectl("", "-n", s.ns, "delete", "job", "migrate")
	second := s.waitJob("migrate", first.UID)
	eventually(t, "its failure", func(context.Context) error {
		if r := s.run("migrate"); r.State != v1alpha1.RunFailed {
			return fmt.Errorf("status.runs has %+v", r)
		}
		return nil
	})
	s.waitRefused(v1alpha1.ReasonRunFailed)

	s.write(map[string]string{"job.yaml": job("migrate", "", "", "registry.example/app:1")})
	s.waitReady(s.push("mended"))
	s.waitJob("migrate", second.UID)
	if _, err := get(t.Context(), s, "web", &appsv1.Deployment{}); err != nil {
		t.Errorf("Deployment web: %v, want it applied", err)
	}
	if err := s.absent("old"); err != nil {
		t.Error(err)
	}
}

func TestANewRevisionPreEmptsARunningMigration(t *testing.T) {
	t.Parallel()
	s := newStory(t, "pre-empted")
	s.app.Spec.Sync.Timeout.Duration = 10 * time.Minute
	s.write(map[string]string{"sa.yaml": migrator, "settings.yaml": configMap("settings", "1"), "job.yaml": job("migrate", "", "never-ready", "registry.example/app:1")})
	s.create()
	s.push("first")
	first := s.waitJob("migrate", "")
	eventually(t, "its pod is there", func(ctx context.Context) error { return s.podsOf(ctx, first.UID, 1) })
	s.write(map[string]string{"job.yaml": job("migrate", "", "", "registry.example/app:2")})
	commit := s.push("second")
	second := s.waitJob("migrate", first.UID)
	if err := s.podsOf(t.Context(), first.UID, 0); err != nil {
		t.Errorf("while the second runs: %v", err)
	}
	s.waitReady(commit)
	if err := s.still("migrate", second.UID); err != nil {
		t.Error(err)
	}
}

func (s *story) podsOf(ctx context.Context, job types.UID, want int) error {
	var pods corev1.PodList
	err := sandbox.Client.List(ctx, &pods, client.InNamespace(s.ns), client.MatchingLabels{"controller-uid": string(job)})
	if err == nil && len(pods.Items) != want {
		err = fmt.Errorf("%d pods of the Job, want %d", len(pods.Items), want)
	}
	return err
}

func TestWhatRunsAfterEverythingElse(t *testing.T) {
	t.Parallel()
	s := newStory(t, "run-after")
	s.write(map[string]string{"sa.yaml": migrator, "settings.yaml": configMap("settings", "1"), "web.yaml": wavedDeployment("web", 2, "never-ready"),
		"job.yaml": job("smoke", ", gitseal.dev/run-phase: After", "", "registry.example/app:1")})
	s.create()
	commit := s.push("first")
	s.waitProgress(`waiting for sync wave 2: Deployment "web" in namespace "run-after": `)
	if err := s.noJob("smoke"); err != nil {
		t.Error(err)
	}
	s.heal("app", "web")
	s.waitReady(commit)
	if r := s.run("smoke"); r.State != v1alpha1.RunSucceeded {
		t.Errorf("status.runs has %+v, want it to have succeeded", r)
	}
}

func TestAJobOfSomebodyElseIsNotRun(t *testing.T) {
	t.Parallel()
	s := newStory(t, "foreign-job")
	s.write(map[string]string{"sa.yaml": migrator, "settings.yaml": configMap("settings", "1"), "job.yaml": job("migrate", "", "", "registry.example/app:1")})
	foreign := strings.Replace(job("migrate", "", "", "registry.example/app:1"), "ttlSecondsAfterFinished: 0", "suspend: true", 1)
	s.kubectl(foreign, "-n", s.ns, "create", "-f", "-")
	s.create()
	commit := s.push("first")
	want := `job.yaml:1: Job "migrate" in namespace "foreign-job" is there already and does not belong to this Application, so that it cannot be run: ` +
		"delete the one in the cluster, or give the one in Git another name"
	s.waitMessage(v1alpha1.ReasonOwnedByOther, want)
	s.kubectl("", "-n", s.ns, "delete", "job", "migrate")
	s.kubectl("", "-n", s.ns, "annotate", "application", "app", v1alpha1.AnnotationSyncRequestedAt+"=now")
	s.waitReady(commit)
}

// An operator that is killed between the record of a run and the creation of
// the Job, while it runs, or after it has ended, never runs it twice. It runs
// alone, because the operator of the package dies in it.
func TestAMigrationRunsOnceOverRestarts(t *testing.T) {
	s := newStory(t, "run-restarts")
	s.kubectl(`{apiVersion: v1, kind: ResourceQuota, metadata: {name: none}, spec: {hard: {count/jobs.batch: "0"}}}`, "-n", s.ns, "apply", "-f", "-")
	eventually(t, "the quota is in force", func(ctx context.Context) error {
		q, err := get(ctx, s, "none", &corev1.ResourceQuota{})
		if err == nil && len(q.Status.Hard) == 0 {
			err = errors.New("it is not")
		}
		return err
	})
	s.write(map[string]string{"sa.yaml": migrator, "settings.yaml": configMap("settings", "1"), "web.yaml": wavedDeployment("web", 0, ""),
		"job.yaml": job("migrate", "", "never-ready", "registry.example/app:1")})
	s.create()
	commit := s.push("first")
	eventually(t, "the run is recorded", func(context.Context) error {
		if r := s.run("migrate"); r.State != v1alpha1.RunStarted {
			return fmt.Errorf("%+v", r)
		}
		return s.noJob("migrate")
	})
	restart(t, func() { s.kubectl("", "-n", s.ns, "delete", "resourcequota", "none") })
	made := s.waitJob("migrate", "")
	restart(t, func() {})
	s.looked()
	s.waitProgress("waiting for the end of Job")
	if err := s.still("migrate", made.UID); err != nil {
		t.Error(err)
	}
	restart(t, func() {
		s.heal("job-name", "migrate")
		s.kubectl("", "-n", s.ns, "wait", "--for=condition=Complete", "--timeout="+patience.String(), "job/migrate")
	})
	s.waitReady(commit)
	if err := s.still("migrate", made.UID); err != nil {
		t.Error(err)
	}
	s.kubectl("", "-n", s.ns, "delete", "job", "migrate")
	restart(t, func() {})
	s.write(map[string]string{"settings.yaml": configMap("settings", "2")})
	app := s.waitReady(s.push("second"))
	if err := s.noJob("migrate"); err != nil || !meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionSynced) {
		t.Errorf("after a restart: %v, conditions %+v", err, app.Status.Conditions)
	}
}

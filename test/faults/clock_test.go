package faults

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/controllers"
	"github.com/gitseal/gitseal/providers"
	"github.com/gitseal/gitseal/providers/file"
	"github.com/gitseal/gitseal/test/rig"
)

// asOperator makes the test binary behave as the operator, with a clock on the
// wall that can be set: its value is a file that says how far that is off.
const asOperator = "GITSEAL_FAULTS_OPERATOR_CLOCK"

// wallClock is a machine's clock that somebody sets. As in the kernel, only the
// time of day jumps; the clock by which Go tells how long something took does not.
type wallClock struct {
	clock.RealClock
	off *atomic.Int64 // seconds
}

// Now shifts the seconds of the wall within a time.Time, bits 30 to 62 of its
// first word where it has a monotonic reading; time.Time.Add would shift both.
func (c wallClock) Now() time.Time {
	now := time.Now()
	*(*uint64)(unsafe.Pointer(&now)) += uint64(c.off.Load()) << 30
	return now
}

func (c wallClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

// follow sets the clock to what the file says, and removes the file.
func (c wallClock) follow(file string) {
	for range time.Tick(20 * time.Millisecond) {
		raw, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if off, err := time.ParseDuration(string(raw)); err == nil {
			c.off.Store(int64(off / time.Second))
			_ = os.Remove(file)
		}
	}
}

func TestTheClockOfTheTestsJumpsAsTheKernelsDoes(t *testing.T) {
	c := wallClock{off: &atomic.Int64{}}
	before := c.Now()
	for _, off := range []time.Duration{time.Hour, -2 * time.Hour} {
		c.off.Store(int64(off / time.Second))
		after := c.Now()
		if took := after.Sub(before); took < 0 || took > time.Minute {
			t.Errorf("off by %s: something took %s, want next to nothing", off, took)
		}
		if moved := after.Round(0).Sub(before.Round(0)); (moved - off).Abs() > time.Minute {
			t.Errorf("off by %s: the time of day moved by %s", off, moved)
		}
	}
}

// runOperator is main of cmd/gitseal-controller, but for the clock.
func runOperator() int {
	o := controllers.Operator{Namespace: v1alpha1.OperatorNamespace, Concurrency: 8, Random: rand.Reader, Logger: logr.Discard()}
	flags := flag.NewFlagSet("operator", flag.ContinueOnError)
	kubeconfig := flags.String("kubeconfig", "", "")
	flags.StringVar(&o.Scratch, "scratch", "", "")
	flags.StringVar(&o.MetricsAddress, "metrics-bind-address", "0", "")
	flags.StringVar(&o.HealthAddress, "health-probe-bind-address", "0", "")
	flags.BoolVar(&o.LeaderElection, "leader-elect", true, "")
	flags.StringVar(&o.WebhookAddress, "webhook-bind-address", "0", "")
	flags.BoolVar(&o.Share, "share", false, "")
	_, _ = flags.String("log-level", "", ""), flags.String("log-format", "", "")
	files, _ := flags.String("file-stores", "", ""), flags.String("plugins", "", "")
	c := wallClock{off: &atomic.Int64{}}
	o.Clock = c
	go c.follow(os.Getenv(asOperator))
	err := flags.Parse(os.Args[1:])
	o.Providers = providers.Registry{"file": file.Backend(*files)}
	if err == nil {
		o.Config, err = clientcmd.BuildConfigFromFlags("", *kubeconfig)
	}
	if err == nil {
		err = o.Run(ctrl.SetupSignalHandler())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// replaced runs another operator in place of the one of all tests, for a test
// that runs alone.
func replaced(t *testing.T, how rig.Launch) *rig.Operator {
	t.Helper()
	if err := operator.Stop(); err != nil {
		t.Fatal(err)
	}
	another, err := sandbox.StartOperatorAs(t.Context(), how)
	t.Cleanup(func() {
		if another != nil {
			err = errors.Join(err, another.Stop())
		}
		var again error
		operator, again = sandbox.StartOperatorAs(context.Background(), rig.Launch{Through: proxy})
		if err := errors.Join(err, again); err != nil {
			t.Fatal(err)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return another
}

// A clock that is set, forward or back, changes what the time of day decides,
// which is spec.suspend.until, and nothing else: polls, brakes and retries go on.
func TestTheClockJumps(t *testing.T) {
	s := newStory(t, "clock")
	file := filepath.Join(t.TempDir(), "off")
	set := func(off string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(file+".new", []byte(off), 0o600), os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the clock set", func(context.Context) error {
			if _, err := os.Stat(file); !errors.Is(err, fs.ErrNotExist) {
				return errors.New("not yet")
			}
			return nil
		})
	}
	replaced(t, rig.Launch{Program: os.Args[0], Env: []string{asOperator + "=" + file}})
	commit := s.push(map[string]string{"c.yaml": configMap("c", "0")})
	s.create()
	s.waitReady(commit)

	for _, off := range []string{"9h", "-9h", "0s"} {
		set(off)
		s.waitReady(s.push(map[string]string{"c.yaml": configMap("c", "at "+off)})) // polls go on
	}
	for n := range 5 { // more than are put back without a brake
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.ns, Name: "c"}}
		byHand := fmt.Appendf(nil, `{"data":{"key":"by hand %d"}}`, n)
		if err := sandbox.Client.Patch(t.Context(), c, client.RawPatch(types.MergePatchType, byHand)); err != nil {
			t.Fatal(err)
		}
		set([]string{"0s", "0s", "1h", "-9h", "0s"}[n])
		s.waitValue("c", "at 0s")
	}

	// By the operator's clock until has come, then it has not, then it has.
	until := metav1.NewTime(time.Now().Add(time.Hour))
	set("2h")
	s.edit(func(app *v1alpha1.Application) {
		app.Spec.Suspend = &v1alpha1.Suspend{Reason: "night", Until: &until}
	})
	s.waitReady(s.push(map[string]string{"c.yaml": configMap("c", "later")}))
	set("0s")
	s.waitRefused(v1alpha1.ReasonSuspended, "night")
	s.push(map[string]string{"c.yaml": configMap("c", "not yet")})
	throughout(t, 3*time.Second, func() error {
		if c := s.configs()["c"]; !strings.HasSuffix(c, "=later") {
			return fmt.Errorf("a suspended Application was synced: %s", c)
		}
		return nil
	})
	set("2h")
	s.edit(func(app *v1alpha1.Application) { // an hour's timer does not hear of it
		app.Annotations[v1alpha1.AnnotationSyncRequestedAt] = "now"
	})
	s.waitValue("c", "not yet")
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// floor sends every object, in plaintext, by a bare parallel loop.
func (b *bench) floor(ctx context.Context, ns string) (time.Duration, error) {
	if err := b.rig.Namespace(ctx, ns); err != nil {
		return 0, err
	}
	clients, err := kubernetes.NewForConfig(b.rig.Config)
	if err != nil {
		return 0, err
	}
	resources := map[string]string{
		"configmap": "/api/v1/namespaces/%s/configmaps/config-%s", "secret": "/api/v1/namespaces/%s/secrets/secret-%s",
		"service": "/api/v1/namespaces/%s/services/service-%s", "deployment": "/apis/apps/v1/namespaces/%s/deployments/app-%s",
	}
	bodies := map[string][]byte{}
	for name, content := range b.plain {
		kind, number, _ := strings.Cut(strings.TrimSuffix(name, ".yaml"), "-")
		body, err := yaml.YAMLToJSON([]byte(content))
		if err != nil {
			return 0, err
		}
		bodies[fmt.Sprintf(resources[kind], ns, number)] = body
	}
	begun := time.Now()
	var g errgroup.Group
	g.SetLimit(32)
	for path, body := range bodies {
		g.Go(func() error {
			return clients.CoreV1().RESTClient().Patch(types.ApplyYAMLPatchType).AbsPath(path).
				Param("fieldManager", "floor").Param("force", "true").Body(body).Do(ctx).Error()
		})
	}
	err = g.Wait()
	return time.Since(begun), err
}

// follow watches the Application until done says so.
func (b *bench) follow(ctx context.Context, done func(*v1alpha1.Application) bool) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	w, err := b.rig.Client.Watch(ctx, &v1alpha1.ApplicationList{}, client.InNamespace(b.app.Namespace))
	if err != nil {
		return err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		if app, ok := e.Object.(*v1alpha1.Application); ok && e.Type != watch.Deleted && done(app) {
			return nil
		}
	}
	return fmt.Errorf("the Application did not get there within 2 minutes")
}

// reading is the state of all counters at one moment.
type reading struct {
	cpu     float64
	calls   map[string]int
	objects map[string]int
}

func (b *bench) read(ctx context.Context) (reading, error) {
	r := reading{cpu: cpuSeconds(b.op.Pid())}
	own, err := scrape(ctx, http.DefaultClient, b.op.MetricsURL)
	if err != nil {
		return r, err
	}
	r.calls = sum(own, "rest_client_requests_total", "method")
	httpClient, err := rest.HTTPClientFor(b.rig.Config)
	if err != nil {
		return r, err
	}
	server, err := scrape(ctx, httpClient, b.rig.Config.Host+"/metrics")
	if err != nil {
		return r, err
	}
	r.objects = sum(server, "apiserver_request_total", "verb", "resource")
	return r, nil
}

// since completes a sample with what was used since a reading.
func (b *bench) since(ctx context.Context, before reading, s Sample) (Sample, error) {
	after, err := b.settled(ctx)
	if err != nil {
		return s, err
	}
	s.CPUSeconds = after.cpu - before.cpu
	s.PeakRSSMiB = peakRSS(b.op.Pid())
	s.Calls = difference(before.calls, after.calls)
	for _, n := range s.Calls {
		s.TotalCalls += n
	}
	s.Objects = map[string]int{}
	for key, n := range difference(before.objects, after.objects) {
		verb, resource, _ := strings.Cut(key, " ")
		switch resource {
		case "configmaps", "secrets", "services", "deployments":
			s.Objects[verb+" "+resource] = n
		}
	}
	return s, nil
}

// settled reads the counters once the operator has made no call for a while:
// it counts a call only when it has the whole answer, which is after others
// can see what the call did.
func (b *bench) settled(ctx context.Context) (last reading, err error) {
	const quiet = 300 * time.Millisecond
	for {
		now, err := b.read(ctx)
		if err != nil || maps.Equal(now.calls, last.calls) {
			return now, err
		}
		last = now
		select {
		case <-ctx.Done():
			return now, ctx.Err()
		case <-time.After(quiet):
		}
	}
}

func difference(before, after map[string]int) map[string]int {
	d := map[string]int{}
	for k, n := range after {
		if n != before[k] {
			d[k] = n - before[k]
		}
	}
	return d
}

func scrape(ctx context.Context, c *http.Client, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	response, err := c.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(response.Body)
	return body.Bytes(), err
}

// sum adds up a counter by some of its labels.
func sum(metrics []byte, name string, labels ...string) map[string]int {
	totals := map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(metrics))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if !strings.HasPrefix(line, name+"{") {
			continue
		}
		end := strings.LastIndex(line, "} ")
		value, err := strconv.ParseFloat(line[end+2:], 64)
		if err != nil {
			continue
		}
		var key []string
		for _, l := range labels {
			_, rest, _ := strings.Cut(line, l+`="`)
			v, _, _ := strings.Cut(rest, `"`)
			key = append(key, v)
		}
		totals[strings.Join(key, " ")] += int(value)
	}
	return totals
}

// cpuSeconds reads user and system time from /proc (proc(5), fields 14 and
// 15, in ticks of 1/100 s).
func cpuSeconds(pid int) float64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(raw[bytes.LastIndexByte(raw, ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

func peakRSS(pid int) float64 {
	kb, _, _ := strings.Cut(field(fmt.Sprintf("/proc/%d/status", pid), "VmHWM"), " ")
	n, _ := strconv.ParseFloat(kb, 64)
	return n / 1024
}

func poll(ctx context.Context, done func() (bool, error)) error {
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

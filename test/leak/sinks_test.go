package leak

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
)

// found is what a sink holds at a place.
type found func(place string, content []byte)

// sink is somewhere that values must not show.
type sink struct {
	name string
	// read calls found with everything that is there.
	read func(context.Context, found) error
	// clone: what was committed in plain text is there and has to be.
	clone bool
}

func sinks(cli *transcript, metricsURLs ...string) []sink {
	return []sink{
		{name: "etcd", read: readEtcd},
		{name: "API", read: readAPI},
		{name: "metrics", read: func(ctx context.Context, f found) error {
			return readURLs(ctx, append(metricsURLs, operator.MetricsURL), f)
		}},
		{name: "log", read: func(_ context.Context, f found) error { return readFile(operator.LogFile, f) }},
		{name: "scratch", clone: true, read: func(_ context.Context, f found) error { return readTree(operator.Scratch, f) }},
		{name: "TMPDIR", clone: true, read: func(_ context.Context, f found) error { return readTree(operator.Temp, f) }},
		{name: "process", clone: true, read: readProcess},
		{name: "CLI", read: cli.read},
	}
}

// readEtcd reads every revision that etcd still has of every object, so that
// a status or an event that was overwritten counts too. Of Secrets, what
// stands under a key is left out if it is the canary that belongs there.
func readEtcd(ctx context.Context, f found) error {
	head, err := etcdCall(ctx, "/v3/kv/range", map[string]any{"key": []byte("/registry/"), "range_end": []byte("/registry0"), "count_only": true})
	if err != nil {
		return err
	}
	defer head.Close()
	var state struct {
		Header struct {
			Revision int64 `json:"revision,string"`
		} `json:"header"`
		Count int `json:"count,string"`
	}
	if err := json.NewDecoder(head).Decode(&state); err != nil {
		return fmt.Errorf("ask etcd for its revision: %w", err)
	}
	watch, err := etcdCall(ctx, "/v3/watch", map[string]any{"create_request": map[string]any{
		"key": []byte("/registry/"), "range_end": []byte("/registry0"), "start_revision": "1",
	}})
	if err != nil {
		return err
	}
	defer watch.Close()
	seen := map[string]bool{}
	err = readHistory(json.NewDecoder(watch), state.Header.Revision, func(place string, content []byte) {
		seen[place] = true
		f(place, content)
	})
	if err == nil && len(seen) < state.Count {
		return fmt.Errorf("etcd's history names %d objects, and there are %d now", len(seen), state.Count)
	}
	return err
}

// history is one message of etcd's watch.
type history struct {
	Result struct {
		CompactRevision string `json:"compact_revision"`
		Events          []struct {
			KV struct {
				Key         []byte `json:"key"`
				Value       []byte `json:"value"`
				ModRevision int64  `json:"mod_revision,string"`
			} `json:"kv"`
		} `json:"events"`
	} `json:"result"`
}

func readHistory(d *json.Decoder, until int64, f found) error {
	for {
		var message history
		if err := d.Decode(&message); err != nil {
			return fmt.Errorf("read etcd's history: %w", err)
		}
		if message.Result.CompactRevision != "" {
			return fmt.Errorf("etcd has forgotten what was before revision %s: the test took too long", message.Result.CompactRevision)
		}
		for _, e := range message.Result.Events {
			f(string(e.KV.Key), e.KV.Value)
			if e.KV.ModRevision >= until {
				return nil
			}
		}
	}
}

func etcdCall(ctx context.Context, path string, body any) (io.ReadCloser, error) {
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, sandbox.Sandbox.Etcd.URL+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, fmt.Errorf("etcd answers %s with %s", path, response.Status)
	}
	return response.Body, nil
}

const secretsPrefix = "/registry/secrets/"

// withoutOwn takes out of a stored Secret what belongs there.
func withoutOwn(place string, content []byte, own map[string]map[string][]string) ([]byte, error) {
	name, isSecret := strings.CutPrefix(place, secretsPrefix)
	if !isSecret || len(content) == 0 {
		return content, nil
	}
	o, _, err := scheme.Codecs.UniversalDeserializer().Decode(content, nil, nil)
	if err != nil {
		return nil, fmt.Errorf("decode %s: %w", place, err)
	}
	s, ok := o.(*corev1.Secret)
	if !ok {
		return nil, fmt.Errorf("%s holds %T", place, o)
	}
	for key, values := range own[name] {
		if slices.Contains(values, string(s.Data[key])) {
			delete(s.Data, key)
		}
	}
	return runtime.Encode(scheme.Codecs.LegacyCodec(corev1.SchemeGroupVersion), plainData(s))
}

// plainData adds the values as they are, since JSON would show them as base64
// only.
func plainData(s *corev1.Secret) *corev1.Secret {
	s.StringData = map[string]string{}
	for key, value := range s.Data {
		s.StringData[key] = string(value)
	}
	return s
}

// readAPI reads what users see of statuses and events.
func readAPI(ctx context.Context, f found) error {
	for _, args := range [][]string{
		{"get", "applications", "--all-namespaces", "--output", "yaml", "--show-managed-fields"},
		{"get", "applications", "--all-namespaces", "--output", "json"},
		{"get", "events", "--all-namespaces", "--output", "json"},
		{"describe", "applications", "--all-namespaces"},
	} {
		out, err := sandbox.Kubectl(ctx, "", args...)
		if err != nil {
			return err
		}
		f("kubectl "+strings.Join(args, " "), []byte(out))
	}
	return nil
}

func readURLs(ctx context.Context, urls []string, f found) error {
	for _, url := range urls {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		raw, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			return err
		}
		f(url, raw)
	}
	return nil
}

func readFile(path string, f found) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	readBytes(path, raw, f)
	return nil
}

func readBytes(path string, raw []byte, f found) {
	f(path, raw)
	for i, inflated := range inflate(raw) {
		f(fmt.Sprintf("%s, compressed stream %d", path, i), inflated)
	}
}

// readTree reads what stays: the operator is at work, and may remove a file
// before it is read.
func readTree(dir string, f found) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			f(path, []byte(path))
			err = readFile(path, f)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

const maxInflated = 16 << 20

// inflate opens every compressed stream that begins anywhere in a file, as the
// objects of a pack do.
func inflate(raw []byte) [][]byte {
	var all [][]byte
	for i := 0; i+2 < len(raw); i++ {
		var r io.Reader
		var err error
		switch {
		case raw[i]&0x0f == 8 && (uint16(raw[i])<<8|uint16(raw[i+1]))%31 == 0:
			r, err = zlib.NewReader(bytes.NewReader(raw[i:]))
		case raw[i] == 0x1f && raw[i+1] == 0x8b:
			r, err = gzip.NewReader(bytes.NewReader(raw[i:]))
		default:
			continue
		}
		if err != nil {
			continue
		}
		// What comes before an error counts: the end may be cut off.
		if out, _ := io.ReadAll(io.LimitReader(r, maxInflated)); len(out) >= shortest {
			all = append(all, out)
		}
	}
	return all
}

// readProcess reads arguments, environment and the files that the operator
// holds open, deleted ones included.
func readProcess(_ context.Context, f found) error {
	proc := fmt.Sprintf("/proc/%d", operator.Pid())
	for _, name := range []string{"cmdline", "environ"} {
		raw, err := os.ReadFile(filepath.Join(proc, name))
		if err != nil {
			return err
		}
		f(name, raw)
	}
	open, err := os.ReadDir(filepath.Join(proc, "fd"))
	if err != nil {
		return err
	}
	for _, fd := range open {
		path := filepath.Join(proc, "fd", fd.Name())
		target, err := os.Readlink(path)
		if err != nil || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, operator.LogFile) {
			continue
		}
		if err := readOpen(path, f); err != nil {
			return err
		}
	}
	return nil
}

// readOpen reads what a file descriptor of the operator stands for, if that is
// a file. The operator is at work, and may have closed it, or made it another.
func readOpen(path string, f found) error {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENXIO) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return err
	}
	raw, err := io.ReadAll(file)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	readBytes(path, raw, f)
	return nil
}

// transcript is what the plugin wrote.
type transcript struct {
	entries []string
	outputs [][]byte
}

func (c *transcript) run(t *testing.T, dir string, args ...string) {
	t.Helper()
	stdout, stderr, err := sandbox.Gitseal(t.Context(), dir, nil, args...)
	c.entries = append(c.entries, fmt.Sprintf("kubectl gitseal %s (error: %v)", strings.Join(args, " "), err != nil))
	c.outputs = append(c.outputs, []byte(stdout+"\n"+stderr))
}

func (c *transcript) read(_ context.Context, f found) error {
	for i, name := range c.entries {
		f(name, c.outputs[i])
	}
	return nil
}

package e2e

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

const sharedSecret = "c0ffee-webhook-canary-c0ffee"

// shareSecret makes the Secret that webhooks are signed with, and waits until
// the operator has it.
func shareSecret(t *testing.T) {
	t.Helper()
	s := &corev1.Secret{ObjectMeta: meta1("gitseal-webhook", v1alpha1.OperatorNamespace), StringData: map[string]string{"generic": sharedSecret, "github": sharedSecret}}
	if err := sandbox.Client.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sandbox.Client.Delete(context.Background(), s) })
	eventually(t, "the secret known", func(ctx context.Context) error {
		if code, err := deliver(ctx, "/generic", "{", sign("{")); code != http.StatusBadRequest {
			return fmt.Errorf("answer %d, %w", code, err)
		}
		return nil
	})
}

func sign(body string) map[string]string {
	mac := hmac.New(sha256.New, []byte(sharedSecret))
	_, _ = mac.Write([]byte(body))
	sum := "sha256=" + hex.EncodeToString(mac.Sum(nil))
	return map[string]string{"X-Signature": sum, "X-Hub-Signature-256": sum, "X-GitHub-Event": "push", "X-GitHub-Delivery": sum[:20]}
}

func deliver(ctx context.Context, path, body string, header map[string]string) (int, error) {
	return deliverTo(ctx, operator.WebhookURL+path, strings.NewReader(body), header)
}

func deliverTo(ctx context.Context, url string, body io.Reader, header map[string]string) (int, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, body)
	if err != nil {
		return 0, err
	}
	for k, v := range header {
		request.Header.Set(k, v)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, response.Body.Close()
}

// webhooks reads how many deliveries had an outcome.
func webhooks(t *testing.T, provider, outcome string) int {
	t.Helper()
	response, err := http.Get(operator.MetricsURL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, fmt.Sprintf("gitseal_webhooks_total{outcome=%q,provider=%q} ", outcome, provider)); ok {
			n, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	return 0
}

// One test, because the Secret is the operator's only one. It runs alone,
// because it looks at how large the operator is.
func TestAWebhookMakesTheOperatorLook(t *testing.T) {
	s := newStory(t, "pushed")
	s.app.Spec.Source.Git.Interval.Duration = time.Hour
	s.write(map[string]string{"c.yaml": configMap("c", "one")})
	commit := s.push("first")
	s.create()
	s.waitReady(commit)
	eventually(t, "the lack of a secret known", func(ctx context.Context) error {
		if code, err := deliver(ctx, "/generic", "{}", nil); code != http.StatusNotFound {
			return fmt.Errorf("answer %d, %w", code, err)
		}
		return nil
	})
	shareSecret(t)

	t.Run("a push is applied, though the interval is an hour", func(t *testing.T) {
		s.write(map[string]string{"c.yaml": configMap("c", "two")})
		commit := s.push("second")
		body := fmt.Sprintf(`{"ref":"refs/heads/main","repository":{"clone_url":%q}}`, s.repo.URL)
		if code, err := deliver(t.Context(), "/github", body, sign(body)); code != http.StatusAccepted {
			t.Fatalf("answer %d, %v, want %d", code, err, http.StatusAccepted)
		}
		s.wantConfig("c", "two")
		s.waitReady(commit)

		seen := webhooks(t, "github", "Duplicate")
		if code, err := deliver(t.Context(), "/github", body, sign(body)); code != http.StatusOK || webhooks(t, "github", "Duplicate") != seen+1 {
			t.Errorf("answer %d, %v to a repetition, want %d", code, err, http.StatusOK)
		}
	})
	t.Run("what is not signed is not heard", func(t *testing.T) {
		s.write(map[string]string{"c.yaml": configMap("c", "three")})
		s.push("third")
		body := fmt.Sprintf(`{"repository":%q}`, s.repo.URL)
		for name, header := range map[string]map[string]string{"unsigned": nil, "signed for another body": sign(body + " ")} {
			if code, err := deliver(t.Context(), "/generic", body, header); code != http.StatusUnauthorized {
				t.Errorf("answer %d, %v to one that is %s, want %d", code, err, name, http.StatusUnauthorized)
			}
		}
		if code, err := deliver(t.Context(), "/generic", "{", sign("{")); code != http.StatusBadRequest {
			t.Errorf("answer %d, %v to malformed JSON, want %d", code, err, http.StatusBadRequest)
		}
		throughout(t, time.Second, func() error {
			if c, err := get(t.Context(), s, "c", &corev1.ConfigMap{}); err != nil || c.Data["key"] != "two" {
				return errors.Join(err, fmt.Errorf("ConfigMap c has %q though nobody looked", c.Data["key"]))
			}
			return nil
		})
		if code, err := deliver(t.Context(), "/generic", body, sign(body)); code != http.StatusAccepted {
			t.Fatalf("answer %d, %v, want %d", code, err, http.StatusAccepted)
		}
		s.wantConfig("c", "three")
	})
	t.Run("100 MB are cut off", func(t *testing.T) {
		before := residentKiB(t)
		for _, body := range []io.Reader{
			bytes.NewReader(make([]byte, 100<<20)),                        // says its length
			io.LimitReader(struct{ io.Reader }{zeroes{}}, int64(100<<20)), // does not
		} {
			code, err := deliverTo(t.Context(), operator.WebhookURL+"/github", body, sign(""))
			if err == nil && code != http.StatusRequestEntityTooLarge { // the connection may be closed while we still send
				t.Errorf("answer %d, want %d", code, http.StatusRequestEntityTooLarge)
			}
		}
		if grown := residentKiB(t) - before; grown > 64<<10 {
			t.Errorf("the operator grew by %d KiB", grown)
		}
		if n := webhooks(t, "github", "TooLarge"); n != 2 {
			t.Errorf("%d deliveries were too large, want 2", n)
		}
	})
	t.Run("another secret counts at once", func(t *testing.T) {
		secret := &corev1.Secret{ObjectMeta: meta1("gitseal-webhook", v1alpha1.OperatorNamespace)}
		patch := client.RawPatch("application/merge-patch+json", []byte(`{"stringData":{"generic":"another-secret-of-some-length"}}`))
		if err := sandbox.Client.Patch(t.Context(), secret, patch); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the old secret refused", func(ctx context.Context) error {
			if code, err := deliver(ctx, "/generic", "{", sign("{")); code != http.StatusUnauthorized {
				return fmt.Errorf("answer %d, %w", code, err)
			}
			return nil
		})
	})
	log, err := os.ReadFile(operator.LogFile)
	if err != nil || bytes.Contains(log, []byte(sharedSecret)) {
		t.Errorf("the log holds the shared secret: %v", err)
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// residentKiB is the operator's memory.
func residentKiB(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", operator.Pid()))
	if err != nil {
		t.Fatalf("read the operator's memory: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		if fields := strings.Fields(line); len(fields) > 1 && fields[0] == "VmRSS:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

package ha

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

const sharedSecret = "a-secret-of-some-length"

// A Service gives a delivery to any replica. Whoever works on the Application
// looks, also where that is another.
func TestAWebhookReachesAllWhoShare(t *testing.T) {
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "gitseal-webhook", Namespace: v1alpha1.OperatorNamespace}, StringData: map[string]string{"generic": sharedSecret}}
	must(t, sandbox.Client.Create(t.Context(), secret))
	t.Cleanup(func() { _ = sandbox.Client.Delete(context.Background(), secret) })

	t.Run("replicas that share", func(t *testing.T) {
		f := newFleet(t, "told", 12)
		commit := f.push("one")
		a, b := start(t, "a", "--share"), start(t, "b", "--share")
		f.create(time.Hour)
		f.wait(commit, f.size)
		for i, r := range []*replica{a, b} {
			commit = f.push(fmt.Sprint("again ", i))
			f.deliver(r)
			f.wait(commit, f.size)
		}
	})
	t.Run("a standby and its leader", func(t *testing.T) {
		f := newFleet(t, "passed", 3)
		commit := f.push("one")
		start(t, "leader", "--leader-elect=true")
		f.create(time.Hour)
		f.wait(commit, f.size)
		standby := start(t, "standby", "--leader-elect=true")
		for i := range 2 { // the second finds the mailbox there
			commit = f.push(fmt.Sprint("again ", i))
			f.deliver(standby)
			f.wait(commit, f.size)
		}
	})
}

// deliver tells one replica of a push.
func (f *fleet) deliver(r *replica) {
	f.t.Helper()
	body := fmt.Sprintf(`{"repository":%q,"ref":"refs/heads/main"}`, f.repo.URL)
	mac := hmac.New(sha256.New, []byte(sharedSecret))
	_, _ = mac.Write([]byte(body))
	eventually(f.t, "the delivery accepted", func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.WebhookURL+"/generic", strings.NewReader(body))
		if err != nil {
			return err
		}
		request.Header.Set("X-Signature", "sha256="+hex.EncodeToString(mac.Sum(nil)))
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusAccepted {
			return fmt.Errorf("answer %s", response.Status)
		}
		return nil
	})
}

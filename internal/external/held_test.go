package external

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitseal/gitseal/internal/secret"
)

// What is not read again by time is read when it is new or was changed in Git,
// and never because of others.
func TestWhatIsNotReadAgainByTimeStays(t *testing.T) {
	const onChange, found = "refreshPolicy: OnChange\n  data: [{secretKey: k, remoteRef: {key: k}}]", "refreshInterval: 0s\n  dataFrom: [{find: {name: {regexp: k}}}]"
	es := func(name, marks, spec string) string {
		return fmt.Sprintf("apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: %s, %s}\nspec:\n  %s", name, marks, spec)
	}
	tests := map[string]struct {
		before, after []string
		want          string
		maxAge        time.Duration // of what is asked
	}{
		"nothing was changed":                {[]string{es("a", "", onChange)}, []string{es("a", "", onChange)}, "old", time.Hour},
		"another was changed":                {[]string{es("a", "", onChange)}, []string{es("a", "", onChange), es("b", "", onChange)}, "old", time.Hour},
		"a label was changed":                {[]string{es("a", "labels: {x: one}", onChange)}, []string{es("a", "labels: {x: two}", onChange)}, "new", 0},
		"an annotation forces it":            {[]string{es("a", "", onChange)}, []string{es("a", "annotations: {force-sync: '1'}", onChange)}, "new", 0},
		"the spec was changed":               {[]string{es("a", "", onChange)}, []string{es("a", "", "target: {immutable: true}\n  "+onChange)}, "new", 0},
		"it is new":                          {[]string{es("b", "", onChange)}, []string{es("a", "", onChange)}, "new", time.Hour},
		"the interval is 0":                  {[]string{es("a", "", found)}, []string{es("a", "", found)}, "old", time.Hour},
		"the interval is 0, and it changed":  {[]string{es("a", "", found)}, []string{es("a", "labels: {x: one}", found)}, "new", 0},
		"it is periodic, and asks each time": {[]string{es("a", "", "refreshInterval: 5m\n  data: [{secretKey: k, remoteRef: {key: k}}]")}, []string{es("a", "", "refreshInterval: 5m\n  data: [{secretKey: k, remoteRef: {key: k}}]")}, "new", 5 * time.Minute},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			v := &vaults{text: map[string]string{"k": "old"}}
			first, err := materializer(v).Materialize(t.Context(), collection(t, tt.before...))
			if err != nil {
				t.Fatal(messages(t, err))
			}
			v.text["k"], v.calls, v.finds = "new", nil, nil
			m := materializer(v)
			m.Held = first.Held
			for range 2 { // what is held is held on
				result, err := m.Materialize(t.Context(), collection(t, tt.after...))
				if err != nil {
					t.Fatal(messages(t, err))
				}
				if diff := cmp.Diff(map[string]string{"k": tt.want}, opened(t, result.Secrets[0], m.Values)); diff != "" {
					t.Errorf("Secret (-want +got):\n%s", diff)
				}
				if due, ever := result.Uses.Due(); ever != (tt.maxAge == 5*time.Minute) {
					t.Errorf("due %v, %t", due, ever)
				}
				m.Held = result.Held
			}
			if got := v.calls[0][0].MaxAge; got != tt.maxAge {
				t.Errorf("asked for values of up to %v, want %v", got, tt.maxAge)
			}
		})
	}
}

// Two may hold different values of one key: neither hides that the other changes.
func TestEachValueHeldOfOneKeyIsInUse(t *testing.T) {
	es := func(name, label string) string {
		return fmt.Sprintf("apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata: {name: %s, labels: {x: %s}}\nspec:\n  refreshPolicy: OnChange\n  data: [{secretKey: k, remoteRef: {key: k}}]", name, label)
	}
	v := &vaults{text: map[string]string{"k": "old"}}
	m := materializer(v)
	made := func(objects ...string) Uses {
		t.Helper()
		result, err := m.Materialize(t.Context(), collection(t, objects...))
		if err != nil {
			t.Fatal(messages(t, err))
		}
		m.Held = result.Held
		return result.Uses
	}
	made(es("a", "one"), es("b", "one"))
	v.text["k"] = "new"
	before := made(es("a", "two"), es("b", "one"))
	m.Held = Held{} // all are to be read again
	if after := made(es("a", "two"), es("b", "one")); len(before.Values) != 2 || after.Fingerprint() == before.Fingerprint() {
		t.Errorf("values in use %+v, and then %+v, want it told that b has another one", before.Values, after.Values)
	}
}

// What a store said last before an outage does not stay when that is over.
func TestWhatIsKeptInAnOutageIsNotHeld(t *testing.T) {
	v := &vaults{text: map[string]string{"k": "old"}, kept: "it is sealed"}
	objects := []string{header + "spec:\n  refreshPolicy: OnChange\n  data: [{secretKey: k, remoteRef: {key: k}}]"}
	m := materializer(v)
	first, err := m.Materialize(t.Context(), collection(t, objects...))
	if err != nil {
		t.Fatal(messages(t, err))
	}
	v.text["k"], v.kept, m.Held, m.Values = "new", "", first.Held, secret.NewTokenizer([]byte("key")).NewSet()
	second, err := m.Materialize(t.Context(), collection(t, objects...))
	if err != nil {
		t.Fatal(messages(t, err))
	}
	if got := opened(t, second.Secrets[0], m.Values)["k"]; got != "new" || v.calls[1][0].MaxAge != 0 {
		t.Errorf("after the outage it is %q of up to %v, want it read anew", got, v.calls[1][0].MaxAge)
	}
}

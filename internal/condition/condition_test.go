package condition_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/internal/condition"
	"github.com/gitseal/gitseal/internal/failure"
)

// said is what conditions say, as TYPE=STATUS/REASON.
func said(conditions []metav1.Condition) []string {
	var texts []string
	for _, c := range conditions {
		texts = append(texts, c.Type+"="+string(c.Status)+"/"+c.Reason)
	}
	return texts
}

func TestTheClassOfAFailureDecidesConditions(t *testing.T) {
	tests := map[string]struct {
		failure  *failure.Error
		want     []string
		alarming bool
	}{
		"what may pass is tried again, and told":        {failure.Failf("Broken", "no"), []string{"Ready=False/Broken", "Reconciling=True/ProgressingWithRetry"}, true},
		"what is waited for is tried again, silently":   {failure.Waitf("Later", "no"), []string{"Ready=False/Later", "Reconciling=True/ProgressingWithRetry"}, false},
		"what somebody has to mend stalls, and is told": {failure.Stallf("Wrong", "no"), []string{"Ready=False/Wrong", "Stalled=True/Wrong"}, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, before := range []*failure.Error{failure.Failf("Else", "before"), failure.Stallf("Else", "before")} {
				var conditions []metav1.Condition
				w := condition.Writer{Conditions: &conditions, Generation: 7}
				if _, news := w.Fail(before); !news {
					t.Error("a first failure is no news")
				}
				if message, news := w.Fail(tt.failure); message != "no" || !news {
					t.Errorf("Fail(%v) = %q, %v, want its message, as news", tt.failure, message, news)
				}
				if _, news := w.Fail(tt.failure); news {
					t.Error("the same failure is news again")
				}
				if diff := cmp.Diff(tt.want, said(conditions)); diff != "" || conditions[0].ObservedGeneration != 7 {
					t.Errorf("conditions %+v differ (-want +got):\n%s", conditions, diff)
				}
			}
			if got := condition.Alarming(tt.failure); got != tt.alarming {
				t.Errorf("Alarming(%v) = %v, want %v", tt.failure, got, tt.alarming)
			}
		})
	}
}

func TestATransitionIsDatedByTheClockThatIsGiven(t *testing.T) {
	var conditions []metav1.Condition
	at := time.Unix(1_900_000_000, 0)
	condition.Writer{Conditions: &conditions, Now: at}.Set("Ready", metav1.ConditionTrue, "Succeeded", "")
	condition.Writer{Conditions: &conditions, Now: at.Add(time.Hour)}.Set("Ready", metav1.ConditionTrue, "Succeeded", "again")
	if got := conditions[0].LastTransitionTime; !got.Time.Equal(at) {
		t.Errorf("last transition at %v, want %v", got, at)
	}
}

func TestShortenCutsBetweenCharacters(t *testing.T) {
	if got := condition.Shorten("short"); got != "short" {
		t.Errorf("Shorten(short) = %q", got)
	}
	for _, text := range []string{strings.Repeat("é", 1000), "e" + strings.Repeat("é", 1000)} {
		if got := condition.Shorten(text); len(got) > 1024 || len(got) < 1000 || !utf8.ValidString(got) || !strings.HasSuffix(got, "é…") {
			t.Errorf("Shorten() = %d bytes that end in %q", len(got), got[len(got)-8:])
		}
	}
}

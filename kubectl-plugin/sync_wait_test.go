package kubectlplugin

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

func TestJudge(t *testing.T) {
	const request = "2030-01-01T00:00:00Z"
	ready := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}
	notReady := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionFalse}
	unknown := metav1.Condition{Type: v1alpha1.ConditionReady, Status: metav1.ConditionUnknown}
	stalled := metav1.Condition{Type: v1alpha1.ConditionStalled, Status: metav1.ConditionTrue}
	working := metav1.Condition{Type: v1alpha1.ConditionReconciling, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonProgressing}
	retrying := metav1.Condition{Type: v1alpha1.ConditionReconciling, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonRetrying}
	for name, tc := range map[string]struct {
		handled    string
		observed   int64
		conditions []metav1.Condition
		want       outcome
		refreshed  string // the echo, where values are to be read again
	}{
		"ready from before the request is no answer to it":   {"", 2, []metav1.Condition{ready}, outcomePending, ""},
		"stalled from before the request is no answer to it": {"2029-01-01T00:00:00Z", 2, []metav1.Condition{notReady, stalled}, outcomePending, ""},
		"ready for an older generation is no answer":         {request, 1, []metav1.Condition{ready}, outcomePending, ""},
		"no condition yet":                      {request, 2, nil, outcomePending, ""},
		"ready is unknown":                      {request, 2, []metav1.Condition{unknown}, outcomePending, ""},
		"waiting for objects to become healthy": {request, 2, []metav1.Condition{notReady, working}, outcomePending, ""},
		"ready":                                 {request, 2, []metav1.Condition{ready}, outcomeDone, ""},
		"stalled":                               {request, 2, []metav1.Condition{notReady, stalled}, outcomeFailed, ""},
		"failed and retried":                    {request, 2, []metav1.Condition{notReady, retrying}, outcomeFailed, ""},
		"ready, and the values not read again":  {request, 2, []metav1.Condition{ready}, outcomePending, "2029-01-01T00:00:00Z"},
		"ready, and the values read again":      {request, 2, []metav1.Condition{ready}, outcomeDone, request},
		"values that cannot be read again":      {request, 2, []metav1.Condition{notReady, retrying}, outcomeFailed, "2029-01-01T00:00:00Z"},
		"not ready and nothing going on":        {request, 2, []metav1.Condition{notReady}, outcomeFailed, ""},
	} {
		t.Run(name, func(t *testing.T) {
			app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Generation: 2}, Status: v1alpha1.ApplicationStatus{
				ObservedGeneration: tc.observed, LastHandledSyncAt: tc.handled, Conditions: tc.conditions,
			}}
			if tc.refreshed != "" {
				app.Annotations = map[string]string{v1alpha1.AnnotationRefreshRequestedAt: request}
				app.Status.LastHandledRefreshAt = tc.refreshed
			}
			if got := judge(app, request); got != tc.want {
				t.Errorf("judge() = %v, want %v", got, tc.want)
			}
		})
	}
}

// Package condition owns how what became of an object is said in its
// conditions, the same for every kind: what a class of failure makes of Ready,
// Reconciling and Stalled, as kstatus understands them, and how long a message
// may be. It must not judge what failed, nor write to the API server.
package condition

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// Writer writes the conditions of one object.
type Writer struct {
	Conditions *[]metav1.Condition
	// Generation is the object's.
	Generation int64
	// Now is noted where a status changes; zero: the time of the machine.
	Now time.Time
}

// Set writes one condition.
func (w Writer) Set(kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(w.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: message, ObservedGeneration: w.Generation, LastTransitionTime: metav1.NewTime(w.Now),
	})
}

// Remove takes one condition away.
func (w Writer) Remove(kind string) { meta.RemoveStatusCondition(w.Conditions, kind) }

// Toggle writes a condition that is there only while it is true.
func (w Writer) Toggle(on bool, kind, reason, message string) {
	if !on {
		w.Remove(kind)
		return
	}
	w.Set(kind, metav1.ConditionTrue, reason, message)
}

// Fail says that the object is not ready and why: what only a change by somebody
// mends stalls, anything else is tried again. It returns what it says, and
// whether that is news.
func (w Writer) Fail(f *failure.Error) (message string, news bool) {
	message = Shorten(f.Message())
	before := meta.FindStatusCondition(*w.Conditions, v1alpha1.ConditionReady)
	news = before == nil || before.Reason != f.Reason || before.Message != message
	stalled := f.Class == failure.Stall
	w.Set(v1alpha1.ConditionReady, metav1.ConditionFalse, f.Reason, message)
	w.Toggle(!stalled, v1alpha1.ConditionReconciling, v1alpha1.ReasonRetrying, message)
	w.Toggle(stalled, v1alpha1.ConditionStalled, f.Reason, message)
	return message, news
}

// Alarming reports whether a failure is worth an event: to wait is none.
func Alarming(f *failure.Error) bool { return f.Class != failure.Wait }

const maxMessage = 1024

// Shorten cuts a text to what a message may have.
func Shorten(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage-len("…")], "") + "…"
}

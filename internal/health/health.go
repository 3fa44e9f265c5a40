// Package health says whether a live object has reached what it was asked for,
// by the rules of kstatus.
//
// It looks at one object and at nothing else. It must not repeat what other
// controllers write into conditions beyond their reason: such text may hold
// values, times and counts.
package health

import (
	"fmt"
	"regexp"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// State is how far an object has got.
type State int

// States of an object.
const (
	Current State = iota
	InProgress
	Failed
)

func (s State) String() string {
	return [...]string{"Current", "InProgress", "Failed"}[s]
}

// Of returns the state of a live object and a sentence on it, which stays the
// same until the state or its reason changes.
func Of(object *unstructured.Unstructured) (State, string) {
	if unobserved(object) {
		return InProgress, "it has not been seen by its controller yet"
	}
	if state, message, ok := ofJob(object); ok {
		return state, message
	}
	result, err := status.Compute(object)
	if err != nil {
		return InProgress, "its status cannot be read"
	}
	switch result.Status {
	case status.CurrentStatus:
		return Current, "it is ready"
	case status.FailedStatus:
		return Failed, sentence("it has failed", reasonOf(result))
	case status.TerminatingStatus:
		return InProgress, "it is being deleted"
	}
	return InProgress, sentence("it is not ready", reasonOf(result))
}

// unobserved closes a gap of kstatus: a workload of no replicas counts as
// ready before its controller has seen it.
func unobserved(object *unstructured.Unstructured) bool {
	gk := object.GroupVersionKind().GroupKind()
	if gk.Group != "apps" || !hasObservedGeneration[gk.Kind] || object.GetDeletionTimestamp() != nil {
		return false
	}
	observed, found, err := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	return err == nil && (!found || observed < object.GetGeneration())
}

var hasObservedGeneration = map[string]bool{"Deployment": true, "StatefulSet": true, "DaemonSet": true, "ReplicaSet": true}

// ofJob differs from kstatus in two ways: a Job that still runs has not
// reached what it is there for, and one that is suspended has.
func ofJob(object *unstructured.Unstructured) (State, string, bool) {
	if object.GroupVersionKind().GroupKind() != (schema.GroupKind{Group: "batch", Kind: "Job"}) || object.GetDeletionTimestamp() != nil {
		return 0, "", false
	}
	if suspended, _, _ := unstructured.NestedBool(object.Object, "spec", "suspend"); suspended {
		return Current, "it is suspended", true
	}
	conditions, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, c := range conditions {
		condition, _ := c.(map[string]any)
		if condition["status"] != "True" {
			continue
		}
		switch condition["type"] {
		case "Complete":
			return Current, "it has completed", true
		case "Failed":
			reason, _ := condition["reason"].(string)
			return Failed, sentence("it has failed", reason), true
		}
	}
	return InProgress, "it has not completed yet", true
}

func reasonOf(r *status.Result) string {
	for _, c := range r.Conditions {
		if c.Reason != "" {
			return c.Reason
		}
	}
	return ""
}

// explanations of the reasons that kstatus gives itself.
var explanations = map[string]string{
	"LessReplicas":                "not all of its pods are created yet",
	"LessUpdated":                 "not all of its pods are updated yet",
	"LessAvailable":               "not all of its pods are available yet",
	"LessReady":                   "not all of its pods are ready yet",
	"LessCurrent":                 "not all of its pods are current yet",
	"LessLabelled":                "not all of its pods are labelled yet",
	"ExtraPods":                   "pods of an earlier revision are still stopping",
	"PartitionRollout":            "its partition is still rolling out",
	"RevisionMismatch":            "its pods are not at the newest revision yet",
	"NoDesiredNumber":             "its pods are not scheduled yet",
	"ReplicaSetNotAvailable":      "its new pods are not available yet",
	"DeploymentNotAvailable":      "not enough of its pods are available",
	"ReplicaFailure":              "its pods cannot be created",
	"ProgressDeadlineExceeded":    "its rollout has not finished within its progress deadline",
	"NotBound":                    "it is not bound to a volume yet",
	"NoIPAssigned":                "it has no address yet",
	"Installing":                  "it is being installed",
	"LatestGenerationNotObserved": "its latest change has not been seen by its controller yet",
	"NoObservedGeneration":        "it has not been seen by its controller yet",
	"PodRunningNotReady":          "it runs but is not ready",
	"PodNotScheduled":             "it has not been scheduled",
	"PodUnschedulable":            "no node can take it",
	"PodPending":                  "it is pending",
	"PodNotObserved":              "it has not been seen by a node yet",
	"ContainerCrashLooping":       "a container crashes again and again",
}

// reasonPattern is what an API convention asks of a reason; anything else is
// not repeated.
var reasonPattern = regexp.MustCompile(`^[A-Za-z]([A-Za-z0-9_,:]{0,80}[A-Za-z0-9_])?$`)

func sentence(otherwise, reason string) string {
	if text, ok := explanations[reason]; ok {
		return text
	}
	if !reasonPattern.MatchString(reason) {
		return otherwise
	}
	return fmt.Sprintf("%s (%s)", otherwise, reason)
}

// HasStatus reports whether an object of the kind can ever be anything but
// current, so that the others need not be read back.
func HasStatus(gk schema.GroupKind) bool {
	if withoutStatusGroups[gk.Group] {
		return false
	}
	return !withoutStatus[gk]
}

// withoutStatusGroups are API groups of nothing but configuration.
var withoutStatusGroups = map[string]bool{
	"rbac.authorization.k8s.io": true,
	"scheduling.k8s.io":         true,
	"coordination.k8s.io":       true,
	"discovery.k8s.io":          true,
	"node.k8s.io":               true,
}

// withoutStatus are kinds that are current as soon as they exist.
var withoutStatus = map[schema.GroupKind]bool{
	{Kind: "ConfigMap"}:                                      true,
	{Kind: "Secret"}:                                         true,
	{Kind: "ServiceAccount"}:                                 true,
	{Kind: "LimitRange"}:                                     true,
	{Kind: "ResourceQuota"}:                                  true, // its status counts use, which is no health
	{Kind: "Endpoints"}:                                      true,
	{Kind: "PodTemplate"}:                                    true,
	{Kind: "Event"}:                                          true,
	{Group: "events.k8s.io", Kind: "Event"}:                  true,
	{Group: "apps", Kind: "ControllerRevision"}:              true,
	{Group: "batch", Kind: "CronJob"}:                        true, // what it starts is not its health
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}:      true,
	{Group: "networking.k8s.io", Kind: "IngressClass"}:       true,
	{Group: "storage.k8s.io", Kind: "StorageClass"}:          true,
	{Group: "storage.k8s.io", Kind: "CSIDriver"}:             true,
	{Group: "storage.k8s.io", Kind: "VolumeAttributesClass"}: true,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}:   true,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}:     true,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicyBinding"}: true,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicyBinding"}:   true,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicy"}:          true,
}

package health

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
)

func TestOf(t *testing.T) {
	const deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, generation: 2}\n"
	const job = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: j, generation: 1}\n"
	const crd = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: x.y}\n"
	const custom = "apiVersion: x.io/v1\nkind: Thing\nmetadata: {name: t, generation: 3}\n"
	tests := map[string]struct {
		object  string
		state   State
		message string
	}{
		"a Deployment of 0 replicas that is not observed": {deployment + "spec: {replicas: 0}", InProgress, "it has not been seen by its controller yet"},
		"a Deployment of 0 replicas at an old generation": {deployment + "spec: {replicas: 0}\nstatus: {observedGeneration: 1}", InProgress, "it has not been seen by its controller yet"},
		"a Deployment of 0 replicas that is observed": {deployment + "spec: {replicas: 0}\nstatus: {observedGeneration: 2, conditions: [{type: Available, status: 'True'}, {type: Progressing, status: 'True', reason: NewReplicaSetAvailable}]}",
			Current, "it is ready"},
		"a Deployment that lacks pods":      {deployment + "spec: {replicas: 3}\nstatus: {observedGeneration: 2, replicas: 1}", InProgress, "not all of its pods are created yet"},
		"a Deployment that lacks more pods": {deployment + "spec: {replicas: 3}\nstatus: {observedGeneration: 2, replicas: 2}", InProgress, "not all of its pods are created yet"},
		"a Deployment past its deadline": {deployment + "spec: {replicas: 3}\nstatus: {observedGeneration: 2, conditions: [{type: Progressing, status: 'False', reason: ProgressDeadlineExceeded}]}",
			Failed, "its rollout has not finished within its progress deadline"},
		"a Deployment that is being deleted": {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d, generation: 2, deletionTimestamp: '2020-01-01T00:00:00Z'}", InProgress, "it is being deleted"},
		"a StatefulSet of 0 replicas that is not observed": {"apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: s, generation: 1}\nspec: {replicas: 0}",
			InProgress, "it has not been seen by its controller yet"},
		"a Job that has not started": {job, InProgress, "it has not completed yet"},
		"a Job that runs":            {job + "status: {startTime: '2020-01-01T00:00:00Z', active: 1}", InProgress, "it has not completed yet"},
		"a Job that has completed":   {job + "status: {conditions: [{type: Complete, status: 'True'}]}", Current, "it has completed"},
		"a Job that has failed":      {job + "status: {conditions: [{type: Failed, status: 'True', reason: BackoffLimitExceeded, message: 'at 12:00'}]}", Failed, "it has failed (BackoffLimitExceeded)"},
		"a Job that is suspended":    {job + "spec: {suspend: true}", Current, "it is suspended"},
		"a definition that is new":   {crd, InProgress, "it is being installed"},
		"a definition that is established": {crd + "status: {conditions: [{type: NamesAccepted, status: 'True'}, {type: Established, status: 'True'}]}",
			Current, "it is ready"},
		"a definition whose names clash": {crd + "status: {conditions: [{type: NamesAccepted, status: 'False', reason: PluralConflict, message: m}]}",
			Failed, "it has failed (PluralConflict)"},
		"a custom resource without a status":  {custom, Current, "it is ready"},
		"a custom resource that is not ready": {custom + "status: {conditions: [{type: Ready, status: 'False', reason: Creating, message: 'password is x, 3 of 5 at 12:00'}]}", InProgress, "it is not ready (Creating)"},
		"a reason that is no reason":          {custom + "status: {conditions: [{type: Ready, status: 'False', reason: 'a b\nc'}]}", InProgress, "it is not ready"},
		"a custom resource that is ready":     {custom + "status: {conditions: [{type: Ready, status: 'True'}]}", Current, "it is ready"},
		"a custom resource that is stalled":   {custom + "status: {conditions: [{type: Stalled, status: 'True', reason: Quota}]}", Failed, "it has failed (Quota)"},
		"a custom resource at an old generation": {custom + "status: {observedGeneration: 2, conditions: [{type: Ready, status: 'True'}]}",
			InProgress, "its latest change has not been seen by its controller yet"},
		"a claim that waits":          {"apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: p}\nstatus: {phase: Pending}", InProgress, "it is not bound to a volume yet"},
		"a Service":                   {"apiVersion: v1\nkind: Service\nmetadata: {name: s}\nspec: {clusterIP: 10.0.0.1}", Current, "it is ready"},
		"a ConfigMap":                 {"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}", Current, "it is ready"},
		"a status that is garbage":    {"apiVersion: x.io/v1\nkind: Thing\nmetadata: {name: t, generation: 3}\nstatus: {observedGeneration: x}", InProgress, "its status cannot be read"},
		"conditions that are garbage": {custom + "status: {conditions: [1, x]}", InProgress, "its status cannot be read"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			object := parse(t, tc.object)
			if state, message := Of(object); state != tc.state || message != tc.message {
				t.Errorf("Of = %v %q, want %v %q", state, message, tc.state, tc.message)
			}
		})
	}
}

func parse(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	raw, err := yaml.ToJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(raw); err != nil {
		t.Fatal(err)
	}
	return object
}

func TestHasStatus(t *testing.T) {
	for gk, want := range map[schema.GroupKind]bool{
		{Kind: "ConfigMap"}: false, {Kind: "Secret"}: false, {Kind: "ServiceAccount"}: false, {Kind: "ResourceQuota"}: false,
		{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}: false, {Group: "networking.k8s.io", Kind: "NetworkPolicy"}: false,
		{Group: "coordination.k8s.io", Kind: "Lease"}: false, {Group: "scheduling.k8s.io", Kind: "PriorityClass"}: false,
		{Kind: "Service"}: true, {Kind: "Pod"}: true, {Group: "apps", Kind: "Deployment"}: true, {Group: "batch", Kind: "Job"}: true,
		{Group: "x.io", Kind: "Secret"}: true, {Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: true,
	} {
		if got := HasStatus(gk); got != want {
			t.Errorf("HasStatus(%v) = %v, want %v", gk, got, want)
		}
	}
}

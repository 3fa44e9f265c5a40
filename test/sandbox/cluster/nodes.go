package cluster

import "slices"

// nodeCount is more than one so that spreading and DaemonSets show.
const nodeCount = 2

// node is the part of the Kubernetes object that the sandbox reads and writes.
type node struct {
	APIVersion string     `json:"apiVersion"`
	Kind       string     `json:"kind"`
	Metadata   metadata   `json:"metadata"`
	Spec       nodeSpec   `json:"spec"`
	Status     nodeStatus `json:"status"`
}

type metadata struct {
	Name        string            `json:"name"`
	Labels      map[string]string `json:"labels,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

type nodeSpec struct {
	Taints []taint `json:"taints,omitempty"`
}

type taint struct {
	Key    string `json:"key"`
	Effect string `json:"effect"`
}

type nodeStatus struct {
	Allocatable map[string]string `json:"allocatable,omitempty"`
	Capacity    map[string]string `json:"capacity,omitempty"`
	Conditions  []condition       `json:"conditions,omitempty"`
	NodeInfo    nodeInfo          `json:"nodeInfo"`
}

type condition struct {
	Type   string `json:"type"`
	Status string `json:"status"`
}

// nodeInfo has the fields the API server insists on.
type nodeInfo struct {
	Architecture            string `json:"architecture"`
	BootID                  string `json:"bootID"`
	ContainerRuntimeVersion string `json:"containerRuntimeVersion"`
	KernelVersion           string `json:"kernelVersion"`
	KubeProxyVersion        string `json:"kubeProxyVersion"`
	KubeletVersion          string `json:"kubeletVersion"`
	MachineID               string `json:"machineID"`
	OperatingSystem         string `json:"operatingSystem"`
	OSImage                 string `json:"osImage"`
	SystemUUID              string `json:"systemUUID"`
}

// newNode is a node with room for whatever a benchmark deploys.
func newNode(name string) node {
	room := map[string]string{"cpu": "1000", "memory": "1Ti", "pods": "10000", "ephemeral-storage": "1Ti"}
	return node{
		APIVersion: "v1",
		Kind:       "Node",
		Metadata: metadata{
			Name: name,
			Labels: map[string]string{
				"kubernetes.io/hostname": name,
				"kubernetes.io/os":       "linux",
				"kubernetes.io/arch":     "amd64",
			},
			Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
		},
		Status: nodeStatus{
			Allocatable: room,
			Capacity:    room,
			NodeInfo:    nodeInfo{Architecture: "amd64", OperatingSystem: "linux", KubeletVersion: "v0.0.0-fake"},
		},
	}
}

func (n node) takesPods() bool {
	ready := slices.Contains(n.Status.Conditions, condition{Type: "Ready", Status: "True"})
	return ready && !slices.ContainsFunc(n.Spec.Taints, func(t taint) bool { return t.Effect != "PreferNoSchedule" })
}

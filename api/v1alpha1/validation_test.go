package v1alpha1_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// connect returns an administrator's client of the API server that `make test`
// starts.
func connect(t *testing.T) (client.Client, *rest.Config) {
	t.Helper()
	path := os.Getenv("GITSEAL_TEST_KUBECONFIG")
	if path == "" {
		t.Fatal("GITSEAL_TEST_KUBECONFIG is not set: run `make test`, which starts an API server for this test")
	}
	config, err := clientcmd.BuildConfigFromFlags("", path)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return client.NewDryRunClient(c), config
}

// valid is the smallest Application there is.
func valid() map[string]any {
	return map[string]any{
		"apiVersion": "gitseal.dev/v1alpha1", "kind": "Application",
		"metadata": map[string]any{"name": "app", "namespace": "default"},
		"spec": map[string]any{
			"source":      map[string]any{"git": map[string]any{"url": "https://git.example.com/team/app.git"}},
			"secrets":     map[string]any{"policy": "None"},
			"destination": map[string]any{"serviceAccountName": "deployer"},
		},
	}
}

// with sets a field given as YAML: "path: value", the path in dots.
func with(t *testing.T, o map[string]any, fields ...string) *unstructured.Unstructured {
	t.Helper()
	for _, field := range fields {
		path, text, _ := strings.Cut(field, "=")
		keys := strings.Split("spec."+path, ".")
		if text == "" {
			unstructured.RemoveNestedField(o, keys...)
			continue
		}
		var value any
		if err := yaml.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		if err := unstructured.SetNestedField(o, integers(value), keys...); err != nil {
			t.Fatal(err)
		}
	}
	return &unstructured.Unstructured{Object: o}
}

// integers makes of whole floats, which is what JSON gives, integers.
func integers(v any) any {
	switch v := v.(type) {
	case float64:
		return int64(v)
	case map[string]any:
		for k, e := range v {
			v[k] = integers(e)
		}
	case []any:
		for i, e := range v {
			v[i] = integers(e)
		}
	}
	return v
}

func long(n int) string { return strings.Repeat("a", n) }

func TestValidation(t *testing.T) {
	c, _ := connect(t)
	const (
		block    = "policy SOPS needs the sops block, and no other policy may have it"
		forms    = "url must begin with http://, https:// or ssh:// and name a repository"
		password = "url must not hold a password; put it in a Secret and name it in secretRef"
		escape   = "path must be relative to the repository and must not contain '..'"
		oneRef   = "ref takes one of branch, tag, semver and commit"
		oneKey   = "a key takes one of keyRef and secretRef"
		sops     = "secrets={policy: SOPS, sops: {keys: [{keyRef: {name: k}}]}}"
		required = "Required value"
	)
	tests := map[string]struct {
		fields []string
		want   string // "" for valid
	}{
		"the smallest one":                  {nil, ""},
		"SOPS with a key":                   {[]string{sops}, ""},
		"SOPS with a key beside":            {[]string{"secrets={policy: SOPS, sops: {keys: [{secretRef: {name: k}}]}}"}, ""},
		"SOPS without its block":            {[]string{"secrets={policy: SOPS}"}, block},
		"None with the block of SOPS":       {[]string{"secrets={policy: None, sops: {keys: [{keyRef: {name: k}}]}}"}, block},
		"a policy that is not there yet":    {[]string{"secrets={policy: Sealed}"}, `Unsupported value: "Sealed": supported values: "SOPS", "External", "None"`},
		"policy External":                   {[]string{"secrets={policy: External, external: {storeRef: {name: v}, interval: 15m, maxStaleness: 0s}}"}, ""},
		"policy External without its block": {[]string{"secrets={policy: External}"}, ""},
		"the external block elsewhere":      {[]string{"secrets={policy: None, external: {}}"}, "only policy External may have the external block"},
		"an interval of values too short":   {[]string{"secrets={policy: External, external: {interval: 1s}}"}, "interval must be between 10s and 8760h"},
		"no policy":                         {[]string{"secrets={}"}, required},
		"no secrets at all":                 {[]string{"secrets="}, required},
		"SOPS without keys":                 {[]string{"secrets={policy: SOPS, sops: {keys: []}}"}, "should have at least 1 items"},
		"too many keys":                     {[]string{"secrets={policy: SOPS, sops: {keys: [" + strings.Repeat("{keyRef: {name: k}},", 17) + "]}}"}, "must have at most 16 items"},
		"a key of both kinds":               {[]string{"secrets={policy: SOPS, sops: {keys: [{keyRef: {name: k}, secretRef: {name: k}}]}}"}, oneKey},
		"a key of neither kind":             {[]string{"secrets={policy: SOPS, sops: {keys: [{}]}}"}, oneKey},
		"a key without a name":              {[]string{"secrets={policy: SOPS, sops: {keys: [{keyRef: {name: ''}}]}}"}, "should be at least 1 chars long"},
		"an exception with its reason":      {[]string{"secrets={policy: None, exceptions: [{name: s, reason: public by design}]}"}, ""},
		"an exception without a reason":     {[]string{"secrets={policy: None, exceptions: [{name: s}]}"}, required},
		"an exception with a lame reason":   {[]string{"secrets={policy: None, exceptions: [{name: s, reason: because}]}"}, "should be at least 8 chars long"},
		"an exception twice":                {[]string{"secrets={policy: None, exceptions: [{name: s, reason: public by design}, {name: s, reason: public by design}]}"}, "Duplicate value"},
		"kinds that may hold a value":       {[]string{"secrets={policy: None, allowInKinds: [ConfigMap, Foo.example.com]}"}, ""},
		"the same kind twice":               {[]string{"secrets={policy: None, allowInKinds: [ConfigMap, ConfigMap]}"}, "Duplicate value"},
		"ssh":                               {[]string{"source.git.url=ssh://git@git.example.com:2222/team/app.git"}, ""},
		"http":                              {[]string{"source.git.url=http://git.example.com/app"}, ""},
		"a user without a password":         {[]string{"source.git.url=https://user@git.example.com/app"}, ""},
		"a password":                        {[]string{"source.git.url=https://user:hunter2@git.example.com/app"}, password},
		"a token in place of a password":    {[]string{"source.git.url=https://:token@git.example.com/app"}, password},
		"the short form of ssh":             {[]string{"source.git.url='git@git.example.com:team/app.git'"}, forms},
		"a file":                            {[]string{"source.git.url=file:///etc/passwd"}, forms},
		"the git protocol":                  {[]string{"source.git.url=git://git.example.com/app"}, forms},
		"a helper":                          {[]string{"source.git.url='ext::sh -c id'"}, forms},
		"a host without a repository":       {[]string{"source.git.url=https://git.example.com/"}, forms},
		"no url":                            {[]string{"source.git={}"}, required},
		"a long url":                        {[]string{"source.git.url=https://git.example.com/" + long(2048)}, "may not be more than 2048 bytes"},
		"the root":                          {[]string{"source.path=."}, ""},
		"a directory":                       {[]string{"source.path=envs/prod"}, ""},
		"two dots within a name":            {[]string{"source.path=envs/..prod"}, ""},
		"an absolute path":                  {[]string{"source.path=/etc"}, escape},
		"a path that leaves":                {[]string{"source.path=envs/../../etc"}, escape},
		"a path that begins outside":        {[]string{"source.path=.."}, escape},
		"a branch":                          {[]string{"source.git.ref={branch: release/1}"}, ""},
		"a tag":                             {[]string{"source.git.ref={tag: v1}"}, ""},
		"a range":                           {[]string{"source.git.ref={semver: '>=1'}"}, ""},
		"a commit":                          {[]string{"source.git.ref={commit: 0123456789012345678901234567890123456789}"}, "must be of type string"},
		"a commit of letters":               {[]string{"source.git.ref={commit: abcdef6789012345678901234567890123456789}"}, ""},
		"a short commit":                    {[]string{"source.git.ref={commit: abcdef}"}, "should match '^[0-9a-f]{40}$'"},
		"a branch and a tag":                {[]string{"source.git.ref={branch: main, tag: v1}"}, oneRef},
		"an empty branch":                   {[]string{"source.git.ref={branch: ''}"}, "should be at least 1 chars long"},
		"an interval":                       {[]string{"source.git.interval=1h30m"}, ""},
		"an interval too short":             {[]string{"source.git.interval=999ms"}, "interval must be between 1s and 24h"},
		"an interval too long":              {[]string{"source.git.interval=24h1s"}, "interval must be between 1s and 24h"},
		"an interval that is none":          {[]string{"source.git.interval=often"}, "should match"},
		"a negative interval":               {[]string{"source.git.interval='-1m'"}, "should match"},
		"a retry too short":                 {[]string{"sync.retryInterval=0s"}, "retryInterval must be between 1s and 24h"},
		"a timeout too long":                {[]string{"sync.timeout=25h"}, "timeout must be between 1s and 24h"},
		"a negative prune limit":            {[]string{"sync.pruneLimit=-1"}, "should be greater than or equal to 0"},
		"no pruning":                        {[]string{"sync.prune=false", "sync.pruneLimit=0"}, ""},
		"drift that is ignored":             {[]string{"sync.drift=Ignore"}, ""},
		"drift of a kind that is not there": {[]string{"sync.drift=Maybe"}, `supported values: "Correct", "Report", "Ignore"`},
		"objects left behind":               {[]string{"sync.deletionPolicy=Orphan"}, ""},
		"an unknown deletion policy":        {[]string{"sync.deletionPolicy=Keep"}, `supported values: "Delete", "Orphan"`},
		"no ServiceAccount":                 {[]string{"destination={}"}, required},
		"an empty ServiceAccount":           {[]string{"destination.serviceAccountName=''"}, "should be at least 1 chars long"},
		"a long destination":                {[]string{"destination.namespace=" + long(64)}, "may not be more than 63 bytes"},
		"a dependency":                      {[]string{"dependsOn=[{name: a}, {name: a, namespace: b}]"}, ""},
		"a dependency without a name":       {[]string{"dependsOn=[{namespace: b}]"}, required},
		"suspended":                         {[]string{"suspend={}"}, ""},
		"suspended for a reason and a time": {[]string{"suspend={reason: release freeze, until: '2030-01-01T00:00:00Z'}"}, ""},
		"suspended until no time":           {[]string{"suspend={until: tomorrow}"}, "must be of type date-time"},
		"suspended for too long a story":    {[]string{"suspend={reason: " + long(513) + "}"}, "may not be more than 512 bytes"},
		"a field that does not exist":       {[]string{"sync.prunee=true"}, `unknown field "spec.sync.prunee"`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			o := with(t, valid(), tt.fields...)
			judge(t, c, o, tt.want)
		})
	}
}

// judge has the API server judge an object: "" is that it accepts it.
func judge(t *testing.T, c client.Client, o client.Object, want string) {
	t.Helper()
	err := client.WithFieldValidation(c, metav1.FieldValidationStrict).Create(t.Context(), o)
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v, want it accepted", err)
	case want != "" && err == nil:
		t.Errorf("accepted, want it refused with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("refused: %v, want %q", err, want)
	}
}

func TestDefaults(t *testing.T) {
	c, _ := connect(t)
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "default"}}
	app.Spec.Source.Git.URL = "https://git.example.com/app"
	app.Spec.Secrets.Policy = v1alpha1.PolicyNone
	app.Spec.Destination.ServiceAccountName = "deployer"
	if err := c.Create(t.Context(), app); err != nil {
		t.Fatalf("the zero values of the Go type are not accepted: %v", err)
	}
	sync := app.Spec.Sync
	if got := fmt.Sprint(app.Spec.Source.Path, " ", app.Spec.Source.Git.Ref.Branch, " ", app.Spec.Source.Git.Interval.Duration, " ",
		*sync.Prune, " ", *sync.PruneLimit, " ", sync.Drift, " ", sync.DeletionPolicy, " ", sync.RetryInterval.Duration, " ", sync.Timeout.Duration, " ",
		app.Status.ObservedGeneration); got != ". main 1m0s true 20 Correct Delete 15s 5m0s -1" {
		t.Errorf("defaults are %q", got)
	}
}

func TestARefOtherThanABranchKeepsNoDefaultBranch(t *testing.T) {
	c, _ := connect(t)
	app := &v1alpha1.Application{}
	o := with(t, valid(), "source.git.ref={tag: v1}")
	if err := c.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, app); err != nil || app.Spec.Source.Git.Ref.Branch != "" || app.Spec.Source.Git.Ref.Tag != "v1" {
		t.Errorf("ref = %+v (%v), want the tag alone", app.Spec.Source.Git.Ref, err)
	}
}

func TestSamplesAreValid(t *testing.T) {
	c, _ := connect(t)
	files, err := filepath.Glob("../../config/samples/*_*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples found: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			found := false
			for _, doc := range strings.Split(string(raw), "\n---\n") {
				o := &unstructured.Unstructured{}
				if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
					t.Fatal(err)
				}
				fits := map[string]any{"Application": &v1alpha1.Application{}, "SecretStore": &v1alpha1.SecretStore{}, "ClusterSecretStore": &v1alpha1.ClusterSecretStore{}}[o.GetKind()]
				if o.GroupVersionKind().GroupVersion() != v1alpha1.GroupVersion || fits == nil {
					continue
				}
				found = true
				if o.GetKind() != "ClusterSecretStore" {
					o.SetNamespace("default")
				}
				if err := client.WithFieldValidation(c, metav1.FieldValidationStrict).Create(t.Context(), o); err != nil {
					t.Errorf("%s is refused: %v", o.GetName(), err)
				}
				if err := yaml.UnmarshalStrict([]byte(doc), fits); err != nil {
					t.Errorf("%s does not fit the Go type: %v", o.GetName(), err)
				}
			}
			if !found {
				t.Error("the sample holds no object of a kind of ours")
			}
		})
	}
}

func TestPrinterColumns(t *testing.T) {
	_, config := connect(t)
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/apis", &v1alpha1.GroupVersion
	config.NegotiatedSerializer = clientSerializer()
	c, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.Get().Resource("applications").SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(raw, &table); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, column := range table.ColumnDefinitions {
		names = append(names, fmt.Sprintf("%s/%d", column.Name, column.Priority))
	}
	if got := strings.Join(names, " "); got != "Name/0 Ready/0 Reason/0 Revision/0 Policy/0 Age/0 Message/1" {
		t.Errorf("columns are %q", got)
	}
}

func TestZeroValuesAreLeftOut(t *testing.T) {
	raw, err := json.Marshal(v1alpha1.Application{})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"metadata":{},"spec":{"source":{"git":{"url":""}},"secrets":{"policy":""},"destination":{"serviceAccountName":""}},"status":{}}`
	if string(raw) != want {
		t.Errorf("an empty Application marshals to\n%s, want\n%s", raw, want)
	}
}

func TestACopySharesNothing(t *testing.T) {
	prune, limit, until := true, int32(3), metav1.NewTime(time.Unix(1e9, 0))
	full := func() *v1alpha1.Application {
		a := &v1alpha1.Application{}
		a.Spec.Source.Git.SecretRef = &v1alpha1.LocalReference{Name: "a"}
		a.Spec.Secrets.SOPS = &v1alpha1.SOPS{Keys: []v1alpha1.SOPSKey{{KeyRef: &v1alpha1.LocalReference{Name: "a"}}, {SecretRef: &v1alpha1.LocalReference{Name: "a"}}}}
		a.Spec.Secrets.Exceptions = []v1alpha1.SecretException{{Name: "a"}}
		a.Spec.Secrets.AllowInKinds = []string{"a"}
		a.Spec.Sync.Prune, a.Spec.Sync.PruneLimit = &prune, &limit
		a.Spec.DependsOn = []v1alpha1.ApplicationReference{{Name: "a"}}
		a.Spec.Suspend = &v1alpha1.Suspend{Until: &until}
		a.Status.Conditions = []metav1.Condition{{Type: "a"}}
		a.Status.Source = &v1alpha1.SourceStatus{Author: "a"}
		a.Status.Secrets, a.Status.Resources = &v1alpha1.SecretsStatus{}, &v1alpha1.ResourcesStatus{}
		a.Status.History = []v1alpha1.HistoryEntry{{Author: "a"}}
		return a
	}
	original := full()
	list := &v1alpha1.ApplicationList{Items: []v1alpha1.Application{*original}}
	for _, copied := range []*v1alpha1.Application{original.DeepCopy(), original.DeepCopyObject().(*v1alpha1.Application), &list.DeepCopyObject().(*v1alpha1.ApplicationList).Items[0]} {
		copied.Spec.Source.Git.SecretRef.Name = "b"
		copied.Spec.Secrets.SOPS.Keys[0].KeyRef.Name, copied.Spec.Secrets.SOPS.Keys[1].SecretRef.Name = "b", "b"
		copied.Spec.Secrets.Exceptions[0].Name, copied.Spec.Secrets.AllowInKinds[0], copied.Spec.DependsOn[0].Name = "b", "b", "b"
		*copied.Spec.Sync.Prune, *copied.Spec.Sync.PruneLimit, copied.Spec.Suspend.Until.Time = false, 4, time.Time{}
		copied.Status.Conditions[0].Type, copied.Status.Source.Author, copied.Status.History[0].Author = "b", "b", "b"
		copied.Status.Secrets.Opened, copied.Status.Resources.Desired = 9, 9
	}
	got, err1 := json.Marshal(original)
	want, err2 := json.Marshal(full())
	if err1 != nil || err2 != nil || string(got) != string(want) {
		t.Errorf("changing a copy changed the original to\n%s, want\n%s (%v, %v)", got, want, err1, err2)
	}
}

package render

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/fstest"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// remotes are kustomizations that would make Kustomize reach out to addr.
func remotes(addr string) map[string]fstest.MapFS {
	url := "http://" + addr + "/x.yaml"
	plugin := func(kind, rest string) string {
		return "apiVersion: builtin\nkind: " + kind + "\nmetadata: {name: x}\n" + rest
	}
	inline := func(field, doc string) string {
		return "resources: [a.yaml]\n" + field + ":\n- |\n  " + strings.ReplaceAll(doc, "\n", "\n  ") + "\n"
	}
	tops := map[string]string{
		"resources":                   "resources: [" + url + "]\n",
		"resources in another case":   "Resources: [" + url + "]\n",
		"scheme in another case":      "resources: [HTTP://" + addr + "/x.yaml]\n",
		"bases":                       "bases: [" + url + "]\n",
		"components":                  "components: [" + url + "]\n",
		"git":                         "resources: ['git::http://" + addr + "/o/r?ref=v1']\n",
		"ssh":                         "resources: ['git@127.0.0.1:o/r.git']\n",
		"user":                        "resources: ['me@127.0.0.1:o/r.git']\n",
		"github":                      "resources: [github.com/o/r]\n",
		"file scheme":                 "resources: ['file:///tmp/r']\n",
		"configMapGenerator.files":    "configMapGenerator: [{name: x, files: ['" + url + "']}]\n",
		"configMapGenerator.files k=": "configMapGenerator: [{name: x, files: ['k=" + url + "']}]\n",
		"configMapGenerator.envs":     "configMapGenerator: [{name: x, envs: ['" + url + "']}]\n",
		"secretGenerator.env":         "secretGenerator: [{name: x, env: '" + url + "'}]\n",
		"patches":                     "resources: [a.yaml]\npatches: [{path: '" + url + "'}]\n",
		"patchesStrategicMerge":       "resources: [a.yaml]\npatchesStrategicMerge: ['" + url + "']\n",
		"patchesJson6902":             "resources: [a.yaml]\npatchesJson6902: [{target: {kind: ConfigMap, name: x, version: v1}, path: '" + url + "'}]\n",
		"replacements":                "resources: [a.yaml]\nreplacements: [{path: '" + url + "'}]\n",
		"crds":                        "resources: [a.yaml]\ncrds: ['" + url + "']\n",
		"configurations":              "resources: [a.yaml]\nconfigurations: ['" + url + "']\n",
		"openapi":                     "resources: [a.yaml]\nopenapi: {path: '" + url + "'}\n",
		"generators":                  "generators: ['" + url + "']\n",
		"transformers":                "resources: [a.yaml]\ntransformers: ['" + url + "']\n",
		"validators":                  "resources: [a.yaml]\nvalidators: ['" + url + "']\n",
		"inline generator":            inline("generators", plugin("ConfigMapGenerator", "files: ['k="+url+"']")),
		"inline transformer":          inline("transformers", plugin("PatchTransformer", "path: "+url)),
		"inline alias":                inline("transformers", plugin("PatchTransformer", "labels: {x: &u '"+url+"'}\npath: *u")),
		"inline merge":                inline("transformers", plugin("PatchTransformer", "labels: &l {path: '"+url+"'}\n<<: *l")),
		"inline value add":            inline("transformers", plugin("ValueAddTransformer", "value: x\ntargetFilePath: "+url)),
		"inline replacement":          inline("transformers", plugin("ReplacementTransformer", "replacements: [{path: '"+url+"'}]")),
		"inline validator":            inline("validators", plugin("PatchTransformer", "path: "+url)),
		"inline list":                 inline("transformers", "apiVersion: v1\nkind: List\nitems:\n- "+strings.ReplaceAll(plugin("PatchTransformer", "path: "+url), "\n", "\n  ")),
		"configuration in a file":     "resources: [a.yaml]\ntransformers: [plugin.yaml]\n",
		"configuration in a dir":      "resources: [a.yaml]\ntransformers: [plugins]\n",
		"base of a base":              "resources: [base]\n",
		"component":                   "resources: [a.yaml]\ncomponents: [component]\n",
		"helm chart":                  "helmCharts: [{name: x, repo: 'http://" + addr + "', version: v1}]\n",
		"helm generator":              inline("generators", plugin("HelmChartInflationGenerator", "name: x\nrepo: 'http://"+addr+"'\nadditionalValuesFiles: ['"+url+"']")),
	}
	all := map[string]fstest.MapFS{}
	for name, top := range tops {
		all[name] = tree("kustomization.yaml", top, "a.yaml", configMap("x"),
			"plugin.yaml", plugin("PatchTransformer", "path: "+url),
			"plugins/kustomization.yaml", "resources: [p.yaml]\n", "plugins/p.yaml", plugin("PatchTransformer", "path: "+url),
			"base/kustomization.yaml", "resources: [../deep]\n", "deep/kustomization.yaml", "resources: ["+url+"]\n",
			"component/kustomization.yaml", "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\nresources: ["+url+"]\n")
	}
	return all
}

func TestNothingRemoteIsFetched(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, configMap("remote"))
	}))
	server.Listener.Close()
	server.Listener = listener
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)

	for name, files := range remotes(listener.Addr().String()) {
		t.Run(name, func(t *testing.T) {
			_, err := Render(t.Context(), files, ".")
			if err == nil {
				t.Fatal("Render succeeded")
			}
			if !strings.Contains(name, "helm") && !strings.Contains(err.Error(), "is remote, and remote bases and files are not fetched") {
				t.Errorf("Render = %v, want the refusal of a remote", err)
			}
			if !strings.Contains(strings.SplitN(err.Error(), " ", 2)[0], "yaml:") {
				t.Errorf("Render = %v, want a file and line", err)
			}
		})
	}
	if n := connections.Load(); n != 0 {
		t.Errorf("%d connections were made", n)
	}
	// The trap works: Kustomize by itself walks into it.
	memory := filesys.MakeFsInMemory()
	_ = memory.WriteFile("/kustomization.yaml", []byte("resources: [http://"+listener.Addr().String()+"/x.yaml]\n"))
	_, _ = krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(memory, "/")
	if connections.Load() == 0 {
		t.Error("Kustomize without the guard made no connection: the test proves nothing")
	}
}

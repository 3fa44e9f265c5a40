package apply

import (
	"strings"
	"testing"
	"time"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/live"
)

// labelled is what we own of every object.
const labelled = `"f:metadata":{"f:annotations":{"f:gitseal.dev/digest":{}},"f:labels":{"f:applyset.kubernetes.io/part-of":{}}}`

func TestOwnsAll(t *testing.T) {
	const (
		config     = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, creationTimestamp: null}\ndata: {k: v, l: w}"
		deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {selector: {matchLabels: {a: b}}, strategy: {}, template: {spec: {containers: [{name: main, image: i, args: [x], ports: [{containerPort: 80}]}]}}}\nstatus: {}"
		service    = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 53, name: tcp}, {port: 53, protocol: UDP, name: udp}]}"
		custom     = "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: a}\nspec: {x: {z: 1}}"
		claim      = "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a, finalizers: [x/a, x/b]}\nspec: {accessModes: [], volumeName: null}"
	)
	main := func(fields string) string {
		return `"f:spec":{"f:selector":{},"f:strategy":{},"f:template":{"f:spec":{"f:containers":{"k:{\"name\":\"main\"}":{` + fields + `}}}}}`
	}
	const whole = `".":{},"f:name":{},"f:image":{},"f:args":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}`
	ports := func(tcp, udp string) string {
		return `"f:spec":{"f:ports":{"k:{\"port\":53,\"protocol\":\"TCP\"}":{` + tcp + `},"k:{\"port\":53,\"protocol\":\"UDP\"}":{` + udp + `}}}`
	}
	const tcp, udp = `".":{},"f:port":{},"f:name":{}`, `".":{},"f:port":{},"f:name":{},"f:protocol":{}`
	tests := map[string]struct {
		object, owned string
		want          bool
	}{
		"all of it":                                   {config, `"f:data":{"f:k":{},"f:l":{}}`, true},
		"a key is somebody else's":                    {config, `"f:data":{"f:k":{}}`, false},
		"a key that Git does not say":                 {config, `"f:data":{"f:k":{},"f:l":{},"f:m":{}}`, false},
		"nothing but labels":                          {config, ``, false},
		"the data as a whole":                         {config, `"f:data":{}`, true},
		"lists by key, atomic ones, and empty maps":   {deployment, main(whole), true},
		"an empty map is somebody else's":             {deployment, strings.Replace(main(whole), `"f:strategy":{},`, "", 1), false},
		"a field of an element is somebody else's":    {deployment, main(strings.Replace(whole, `"f:image":{},`, "", 1)), false},
		"all fields of an element are":                {deployment, main(`".":{}`), false},
		"an element that Git does not say":            {deployment, strings.Replace(main(whole), `"f:containers":{`, `"f:containers":{"k:{\"name\":\"other\"}":{".":{},"f:name":{}},`, 1), false},
		"elements of which the server filled in keys": {service, ports(tcp, udp), true},
		"one of two such elements is gone":            {service, strings.Replace(ports(tcp, udp), `"k:{\"port\":53,\"protocol\":\"TCP\"}":{`+tcp+`},`, "", 1), false},
		"the other one's field is gone":               {service, ports(tcp, strings.Replace(udp, `"f:name":{},`, "", 1)), false},
		"a map of a kind with a schema of its own":    {custom, `"f:spec":{"f:x":{".":{},"f:z":{}}}`, true},
		"a map from which all fields are gone":        {custom, `"f:spec":{"f:x":{}}`, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			item := newWorld(t).build(tt.object)[0]
			owned := labelled
			if tt.owned != "" {
				owned += "," + tt.owned
			}
			if got := ownsAll("{"+owned+"}", false, item); got != tt.want {
				t.Errorf("ownsAll(%s) = %v, want %v for\n%s", owned, got, tt.want, item.body)
			}
		})
	}
	set := newWorld(t).build(claim)[0]
	if !ownsAll(`{"f:metadata":{"f:annotations":{"f:gitseal.dev/digest":{}},"f:labels":{"f:applyset.kubernetes.io/part-of":{}},"f:finalizers":{"v:\"x/a\"":{},"v:\"x/b\"":{}}},"f:spec":{}}`, false, set) {
		t.Error("ownsAll() = false for a set whose elements are all ours")
	}
	for _, bad := range []string{"", "null", "[]", `{"f:data":1}`} {
		if ownsAll(bad, false, newWorld(t).build(config)[0]) {
			t.Errorf("ownsAll(%q) = true, want false", bad)
		}
	}
}

// fields makes a watch give what it saw first.
type fields struct {
	fakeWatches
	owned string
}

func (f fields) TakeFields(live.Scope, live.Key) string { return f.owned }

func TestSeed(t *testing.T) {
	const owned = "{" + labelled + `,"f:data":{"f:k":{}}}`
	tests := map[string]struct {
		object  *live.Object
		owned   string
		digest  string // another than the item's
		inPlace bool
		changed bool
		drifted bool
	}{
		"as it was applied":                        {object: &live.Object{ResourceVersion: 5, Owned: 7}, owned: owned},
		"a field was taken meanwhile":              {object: &live.Object{ResourceVersion: 5, Owned: 7}, owned: "{" + labelled + "}", drifted: true},
		"Git says something else by now":           {object: &live.Object{ResourceVersion: 5, Owned: 7}, owned: owned, digest: "old", changed: true},
		"an earlier version of us applied it":      {object: &live.Object{ResourceVersion: 5, Owned: 7}, digest: "-", changed: true},
		"we own nothing of it":                     {object: &live.Object{ResourceVersion: 5}, changed: true},
		"it is gone":                               {changed: true},
		"it is going":                              {object: &live.Object{ResourceVersion: 5, Owned: 7, Deleting: true}, owned: owned, changed: true},
		"it is going, and all was in place":        {object: &live.Object{ResourceVersion: 5, Owned: 7, Deleting: true}, owned: owned, inPlace: true},
		"it is gone, and all was in place":         {inPlace: true, drifted: true},
		"its digest is gone, and all was in place": {object: &live.Object{ResourceVersion: 5, Owned: 7}, digest: "-", inPlace: true, drifted: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			item := w.build(configMap("a"))[0]
			w.watches = fields{w.seen, tt.owned}
			w.seen[item.Scope] = map[live.Key]live.Object{}
			if tt.object != nil {
				tt.object.Digest = item.digest
				if tt.digest != "" {
					tt.object.Digest = tt.digest
				}
				w.seen.put(item.Scope, "a", *tt.object)
			}
			w.Seed([]Item{item}, w.ledger, tt.inPlace)
			p := w.Compare([]Item{item}, w.ledger, time.Time{})
			if len(p.Changed) == 1 != tt.changed || len(p.Drifted) == 1 != tt.drifted {
				t.Errorf("Compare() after Seed() = %d changed, %d drifted, want %v, %v", len(p.Changed), len(p.Drifted), tt.changed, tt.drifted)
			}
		})
	}
}

// What Git says of an object decides its digest, and nothing else does.
func TestTheDigestStandsInWhatIsSent(t *testing.T) {
	w := newWorld(t)
	digest := func(text string) string {
		item := w.build(text)[0]
		if !strings.Contains(string(item.body), `"`+v1alpha1.AnnotationDigest+`":"`+item.digest+`"`) {
			t.Errorf("%s does not hold its digest %s", item.body, item.digest)
		}
		return item.digest
	}
	base := digest(configMap("a"))
	if digest(configMap("a")) != base || digest(configMap("b")) == base {
		t.Error("the digest does not tell apart what Git says")
	}
	in := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, annotations: {gitseal.dev/digest: mine}}\ndata: {k: v}"
	if digest(in) != digest(strings.Replace(in, "mine", "other", 1)) {
		t.Error("a digest that stands in Git counts")
	}
}

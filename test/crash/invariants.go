package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
)

func applySetOf(cell string) string {
	return apply.Target{Application: types.NamespacedName{Namespace: cell, Name: "app"}}.ApplySet()
}

// record is what the history of a run comes to, with CELL for its name.
type record struct {
	final   map[string]string          // object to normalised JSON
	created map[string]int             // how often, by uid
	deleted map[string]int             // how often
	secrets map[string]map[string]bool // the contents that a Secret had
	pods    map[string]int             // how often a pod template changed
	events  map[string]int             // Event objects by what they say
}

// invariant is one thing that no fault may break.
type invariant struct {
	letter string
	holds  func(o *outcome, got, want record) []string
}

// invariants are (a) to (i) of the design, in its order.
var invariants = []invariant{
	{"a: the same final state as without the fault", func(_ *outcome, got, want record) []string { return differ(want.final, got.final) }},
	{"b: nothing is created twice", func(_ *outcome, got, want record) []string { return differ(want.created, got.created) }},
	{"b: no orphan: the ApplySet records each member before it is there", func(o *outcome, _, _ record) []string { return unrecorded(o) }},
	{"c: nothing is deleted but what must go", func(_ *outcome, got, want record) []string { return differ(want.deleted, got.deleted) }},
	{"d: what runs once runs once per content", func(o *outcome, _, _ record) []string { return runsAgain(o) }},
	{"e: no event is told twice", func(o *outcome, got, want record) []string {
		if o.cell.variant.storm > 0 {
			return nil // in a storm failures take turns, and each turn is news
		}
		return moreOften(got.events, want.events, max(o.cell.scenario.alike, 1))
	}},
	{"f: a Secret is of one revision", func(_ *outcome, got, want record) []string { return mixed(got.secrets, want.secrets) }},
	{"g: a workload restarts once per change", func(_ *outcome, got, want record) []string { return moreOften(got.pods, want.pods, 0) }},
	{"h: no value on disk or in another object", func(o *outcome, _, _ record) []string { return leaks(o) }},
	{"i: steady: a sync of nothing writes its echo only", func(o *outcome, _, _ record) []string { return busy(o) }},
}

// judge says what invariants an outcome breaks, measured by that of a run
// without faults.
func judge(o *outcome, want record) []string {
	got := o.record()
	var broken []string
	for _, i := range invariants {
		for _, what := range i.holds(o, got, want) {
			broken = append(broken, "("+i.letter+") "+what)
		}
	}
	return broken
}

func (o *outcome) record() record {
	r := record{
		final: map[string]string{}, created: map[string]int{}, deleted: map[string]int{},
		secrets: map[string]map[string]bool{}, pods: map[string]int{}, events: map[string]int{},
	}
	last := map[key]version{}
	for _, v := range o.history {
		name := o.cell.plain(v.key.String())
		if v.key.gk.Kind == "Event" {
			if _, seen := last[v.key]; !seen && saysOperator(v.object) {
				r.events[o.cell.plain(saying(v.object))]++
			}
			last[v.key] = v
			continue
		}
		r.note(name, v, last[v.key])
		last[v.key] = v
	}
	for k, v := range last {
		if k.gk.Kind != "Event" && !v.deleted {
			r.final[o.cell.plain(k.String())] = o.cell.plain(normal(v.object))
		}
	}
	return r
}

// note counts what one version of an object is to the one before.
func (r record) note(name string, v, before version) {
	if before.object == nil || before.deleted || before.object.GetUID() != v.object.GetUID() {
		r.created[name]++
	}
	if v.deleted {
		r.deleted[name]++
		return
	}
	if v.key.gk.Kind == "Secret" {
		if r.secrets[name] == nil {
			r.secrets[name] = map[string]bool{}
		}
		data, _ := json.Marshal(v.object.Object["data"])
		r.secrets[name][string(data)] = true
	}
	if v.key.gk.Kind == "Deployment" && before.object != nil && !before.deleted && template(before.object) != template(v.object) {
		r.pods[name]++
	}
}

// saysOperator reports whether an event is the operator's own.
func saysOperator(event *unstructured.Unstructured) bool {
	kind, _, _ := unstructured.NestedString(event.Object, "regarding", "kind")
	return kind == "Application"
}

func saying(event *unstructured.Unstructured) string {
	return fmt.Sprintf("%v %v: %v", event.Object["type"], event.Object["reason"], event.Object["note"])
}

func template(u *unstructured.Unstructured) string {
	t, _, _ := unstructured.NestedMap(u.Object, "spec", "template")
	text, _ := json.Marshal(t)
	return string(text)
}

// differ lists what is not the same in two maps.
func differ[V comparable](want, got map[string]V) []string {
	var found []string
	for _, name := range slices.Sorted(maps.Keys(union(want, got))) {
		w, wanted := want[name]
		g, there := got[name]
		if wanted != there || w != g {
			found = append(found, fmt.Sprintf("%s (-without the fault, +with it):\n%s", name, cmp.Diff(lines(w, wanted), lines(g, there))))
		}
	}
	return found
}

func union[V any](a, b map[string]V) map[string]bool {
	all := map[string]bool{}
	for name := range a {
		all[name] = true
	}
	for name := range b {
		all[name] = true
	}
	return all
}

func lines(v any, there bool) []string {
	if !there {
		return nil
	}
	return strings.Split(fmt.Sprint(v), "\n")
}

func moreOften(got, want map[string]int, free int) []string {
	var found []string
	for name, n := range got {
		if n > max(want[name], free) {
			found = append(found, fmt.Sprintf("%d times, want %d: %s", n, max(want[name], free), name))
		}
	}
	slices.Sort(found)
	return found
}

func mixed(got, want map[string]map[string]bool) []string {
	var found []string
	for name, contents := range got {
		for content := range contents {
			if !want[name][content] {
				found = append(found, name+" had a content that is of no revision")
			}
		}
	}
	return found
}

// unrecorded lists members that were there before the parent said that they
// may be. Resource versions order the objects of all kinds.
func unrecorded(o *outcome) []string {
	var found []string
	seen := map[types.UID]bool{}
	places, finalizer := "", false
	ordered := slices.Clone(o.history)
	slices.SortStableFunc(ordered, func(a, b version) int { return int(a.rv) - int(b.rv) })
	for _, v := range ordered {
		if v.key == o.cell.applicationKey() && !v.deleted {
			places = "," + v.object.GetAnnotations()[v1alpha1.AnnotationPlaces] + ","
			finalizer = slices.Contains(v.object.GetFinalizers(), v1alpha1.Finalizer)
			continue
		}
		if v.deleted || v.object.GetLabels()[v1alpha1.ApplySetPartOfLabel] != applySetOf(o.cell.name) || seen[v.object.GetUID()] {
			continue
		}
		seen[v.object.GetUID()] = true
		place := "," + v.key.gk.String() + "/" + v.key.namespace + ","
		if !finalizer || !strings.Contains(places, place) {
			found = append(found, fmt.Sprintf("%s came while the ApplySet recorded %q, finalizer %v", o.cell.plain(v.key.String()), o.cell.plain(places), finalizer))
		}
	}
	return found
}

// leaks searches the cell's files and every version of every other object.
func leaks(o *outcome) []string {
	var found []string
	for _, v := range o.history {
		if v.key.gk.Kind == "Secret" {
			continue
		}
		text, _ := json.Marshal(v.object.Object)
		if c := canaryIn(string(text)); c != "" {
			found = append(found, fmt.Sprintf("%s holds %s", o.cell.plain(v.key.String()), c))
		}
	}
	for _, dir := range []string{o.cell.dir, os.TempDir()} {
		err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return nil //nolint:nilerr // it went away meanwhile, and holds nothing then
			}
			raw, err := os.ReadFile(path)
			if c := canaryIn(string(raw)); err == nil && c != "" {
				found = append(found, fmt.Sprintf("file %s holds %s", filepath.Base(path), c))
			}
			return nil
		})
		if err != nil {
			found = append(found, err.Error())
		}
	}
	return slices.Compact(found)
}

func canaryIn(text string) string {
	for _, c := range canaries {
		if strings.Contains(text, c) || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(c))[:20]) {
			return c
		}
	}
	return ""
}

// busy lists what was written while nothing had changed: one status per sync
// that was asked for is its echo.
func busy(o *outcome) []string {
	const echo = "api PATCH /apis/gitseal.dev/v1alpha1/namespaces/CELL/applications/app/status"
	echoes := 0
	var found []string
	for _, w := range o.steady {
		if w == echo && echoes < resyncs {
			echoes++
			continue
		}
		found = append(found, "written: "+w)
	}
	if o.since == 0 {
		return found // the Application is gone: there is nothing to ask for
	}
	last := map[key]version{}
	for _, v := range o.history {
		before := last[v.key]
		last[v.key] = v
		if v.rv <= o.since || v.key == o.cell.applicationKey() || v.key.gk.Kind == "Event" && !saysOperator(v.object) {
			continue
		}
		if before.object == nil || v.deleted || essence(before.object) != essence(v.object) {
			found = append(found, "changed: "+o.cell.plain(v.key.String()))
		}
	}
	return found
}

// runsAgain lists the Jobs that were created more than once with one content.
func runsAgain(o *outcome) []string {
	var found []string
	ran := map[string]types.UID{}
	for _, v := range o.history {
		if v.key.gk.Kind != "Job" {
			continue
		}
		content := v.key.String() + image(v.object)
		if uid, known := ran[content]; known && uid != v.object.GetUID() {
			found = append(found, o.cell.plain(v.key.String())+" ran again with "+image(v.object))
		}
		ran[content] = v.object.GetUID()
	}
	return found
}

func image(job *unstructured.Unstructured) string {
	containers, _, _ := unstructured.NestedSlice(job.Object, "spec", "template", "spec", "containers")
	if len(containers) == 0 {
		return ""
	}
	return fmt.Sprint(containers[0].(map[string]any)["image"])
}

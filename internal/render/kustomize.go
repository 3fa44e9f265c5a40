package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/resource"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
)

// kustomizeTurn is held by the one build that runs, because Kustomize keeps the
// OpenAPI schema of the build at hand in a variable of its own package: two
// builds at once would see each other's.
var kustomizeTurn = make(chan struct{}, 1)

// kustomize renders the kustomization in root.
func kustomize(ctx context.Context, fsys fs.FS, root string) ([]Object, error) {
	select {
	case kustomizeTurn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	j := newJail(ctx, fsys, root)
	built, err := build(j)
	<-kustomizeTurn
	if j.err != nil {
		return nil, j.err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, explain(j, err)
	}
	return objectsOf(j, built)
}

func build(j *jail) (built resmap.ResMap, err error) {
	defer func() {
		if p := recover(); p != nil {
			built, err = nil, fmt.Errorf("kustomize cannot handle it (%v)", p)
		}
	}()
	options := krusty.MakeDefaultOptions() // no plugins, no Helm, no functions
	options.LoadRestrictions = types.LoadRestrictionsNone
	return krusty.MakeKustomizer(options).Run(j, path.Join(mount, j.root))
}

// explain makes a message of Kustomize's error. Where a file that was read is
// not valid by itself, that is the explanation, and it has a line.
func explain(j *jail, err error) error {
	if _, clash := registered(err); !clash {
		for _, file := range j.order {
			if !isManifest(file) || isKustomization(path.Base(file)) {
				continue
			}
			parse := parseYAML
			if path.Ext(file) == ".json" {
				parse = parseJSON
			}
			if _, wrong := parse(file, j.files[file]); wrong != nil {
				return wrong
			}
		}
	}
	if id, clash := registered(err); clash {
		if f := explainClash(j, id); f != nil {
			return f
		}
	}
	return refuse(Origin{File: j.topFile()}, "kustomize: %s", cleanError(err))
}

var registeredPattern = regexp.MustCompile(`already registered id: ([A-Za-z0-9]+)\.[^/ ]*/([^' ]+?)\.[^.' ]+(?:'|$|\s)`)

type kindName struct{ kind, name string }

// registered finds the object that Kustomize met twice.
func registered(err error) (kindName, bool) {
	m := registeredPattern.FindStringSubmatch(err.Error())
	if m == nil {
		return kindName{}, false
	}
	return kindName{m[1], m[2]}, true
}

func explainClash(j *jail, id kindName) *failure.Error {
	var places []string
	for _, file := range j.order {
		if !isManifest(file) {
			continue
		}
		for _, e := range j.index(file) {
			if e.kind == id.kind && e.name == id.name {
				places = append(places, Origin{file, e.line}.String())
			}
		}
	}
	if len(places) == 0 {
		return nil
	}
	return failure.Stallf(v1alpha1.ReasonRenderFailed, "%s %q is met twice while building %s; it is written in %s",
		id.kind, id.name, j.root, strings.Join(slices.Compact(places), " and ")).
		WithHint("remove one of the two, or list the file once")
}

var accumulationNoise = regexp.MustCompile(`accumulation err='accumulating resources from '[^']*': (?:read|open) [^']*': `)

// cleanError keeps what Kustomize says and drops where it thinks it stands.
func cleanError(err error) string {
	text := accumulationNoise.ReplaceAllString(err.Error(), "")
	return oneLine(strings.NewReplacer(mount+"/", "", mount, ".").Replace(text))
}

// objectsOf converts what was built.
func objectsOf(j *jail, built resmap.ResMap) ([]Object, error) {
	resources := built.Resources()
	if len(resources) > maxObjects {
		return nil, checkSet(j.root, make([]Object, len(resources)))
	}
	asked := slices.Contains(j.top().BuildMetadata, types.OriginAnnotations)
	finder := newFinder(j)
	objects := make([]Object, 0, len(resources))
	for _, r := range resources {
		origin := finder.origin(r)
		if !asked {
			if err := r.SetOrigin(nil); err != nil {
				return nil, refuse(origin, "%s", cleanError(err))
			}
		}
		value, err := (&converter{file: origin.File}).value(r.YNode(), 0)
		if err != nil {
			return nil, explainAt(j, origin, err)
		}
		if objects, err = appendObjects(objects, document{value: value, origin: origin}); err != nil {
			return nil, err
		}
	}
	return objects, nil
}

// explainAt replaces the line of a failure in Kustomize's output, which counts
// nothing a user can see, by the one in the file.
func explainAt(j *jail, at Origin, err error) error {
	if raw, ok := j.files[at.File]; ok && isManifest(at.File) {
		if _, wrong := parseYAML(at.File, raw); wrong != nil {
			return wrong
		}
	}
	var f *failure.Error
	if !errors.As(err, &f) {
		return err
	}
	_, text, _ := strings.Cut(f.Error(), ": ")
	return refuse(at, "%s", text).WithHint("%s", f.Hint)
}

// finder finds the lines that resources were written on.
type finder struct {
	jail *jail
	top  Origin
}

func newFinder(j *jail) *finder {
	return &finder{jail: j, top: Origin{File: j.topFile()}}
}

// origin is where a resource was written: its document, or the generator that
// made it.
func (f *finder) origin(r *resource.Resource) Origin {
	o, err := r.GetOrigin()
	if err != nil || o == nil {
		return f.top // a patch has removed the annotation
	}
	if o.ConfiguredIn == "" {
		file := path.Join(f.jail.root, o.Path)
		return Origin{file, closest(f.jail.index(file), r.GetKind(), r.GetName())}
	}
	file := path.Join(f.jail.root, o.ConfiguredIn)
	if !isKustomization(path.Base(file)) {
		return Origin{file, closest(f.jail.index(file), o.ConfiguredBy.Kind, o.ConfiguredBy.Name)}
	}
	return Origin{file, generatorLine(f.jail.files[file], o.ConfiguredBy.Kind, r.GetName())}
}

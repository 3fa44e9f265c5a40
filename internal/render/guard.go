package render

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"maps"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"sigs.k8s.io/kustomize/api/konfig"
	"sigs.k8s.io/kustomize/api/provider"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/api/types"

	"github.com/gitseal/gitseal/internal/failure"
)

// guard keeps Kustomize from reaching out. Kustomize's loader fetches by HTTP
// whatever path has an http scheme, and runs git for a base that looks like a
// repository; neither can be switched off. So every kustomization is read
// here first, with Kustomize's own types, and each path in it must be local.
type guard struct {
	jail    *jail
	factory *resmap.Factory
	plugins map[string]bool // directories of plugin configurations already checked
}

func newGuard(j *jail) *guard {
	factory := resmap.NewFactory(provider.NewDefaultDepProvider().GetResourceFactory())
	return &guard{jail: j, factory: factory, plugins: map[string]bool{}}
}

// reference is a path, and where it is written.
type reference struct {
	file  string // the kustomization or the plugin configuration
	raw   []byte
	field string
	value string
}

func (r reference) origin() Origin { return Origin{r.file, lineOf(r.raw, r.value)} }

// check reads a kustomization and refuses what would leave the repository.
func (g *guard) check(file string, raw []byte) (*types.Kustomization, error) {
	k := &types.Kustomization{}
	if err := k.Unmarshal(raw); err != nil {
		return nil, kustomizationFailure(file, raw, err)
	}
	k.FixKustomization()
	if err := k.CheckEmpty(); err != nil {
		return nil, refuse(Origin{File: file}, "is an empty kustomization").
			WithHint("list what to apply under resources")
	}
	if len(k.HelmCharts) > 0 || len(k.HelmChartInflationGenerator) > 0 || k.HelmGlobals != nil {
		return nil, refuse(Origin{file, lineOf(raw, "helmCharts", "helmChartInflationGenerator", "helmGlobals")},
			"inflates a Helm chart, which is not done in a kustomization").
			WithHint("render the chart and commit the result")
	}
	at := func(field, value string) reference { return reference{file, raw, field, value} }
	for _, check := range []func(*types.Kustomization, func(field, value string) reference) error{
		g.checkFiles, g.checkInline, g.checkBases, g.checkPlugins,
	} {
		if err := check(k, at); err != nil {
			return nil, err
		}
	}
	return k, nil
}

// checkFiles looks at the paths that are only ever loaded as files.
func (g *guard) checkFiles(k *types.Kustomization, at func(field, value string) reference) error {
	var refs []reference
	add := func(field string, values ...string) {
		for _, v := range values {
			refs = append(refs, at(field, v))
		}
	}
	add("crds", k.Crds...)
	add("configurations", k.Configurations...)
	for _, key := range slices.Sorted(maps.Keys(k.OpenAPI)) {
		add("openapi", k.OpenAPI[key])
	}
	for _, p := range append(slices.Clone(k.Patches), k.PatchesJson6902...) {
		add("patches", p.Path)
	}
	for _, r := range k.Replacements {
		add("replacements", r.Path)
	}
	sources := func(field string, s types.KvPairSources) {
		add(field, s.EnvSources...)
		add(field, s.EnvSource)
		for _, f := range s.FileSources {
			refs = append(refs, at(field, f))
		}
	}
	for _, c := range k.ConfigMapGenerator {
		sources("configMapGenerator", c.KvPairSources)
	}
	for _, s := range k.SecretGenerator {
		sources("secretGenerator", s.KvPairSources)
	}
	for _, r := range refs {
		if err := g.checkFile(r); err != nil {
			return err
		}
	}
	return nil
}

// checkFile refuses a file, given as a path or as key=path, that is remote or
// is not there.
func (g *guard) checkFile(r reference) error {
	if r.value == "" {
		return nil
	}
	name := r.value
	if _, after, ok := strings.Cut(name, "="); ok {
		name = after
	}
	if looksRemote(r.value) || looksRemote(name) {
		return refuseRemote(r)
	}
	rel := path.Join(path.Dir(r.file), name)
	if path.IsAbs(name) || !fs.ValidPath(rel) {
		return refuse(r.origin(), "%s %q is not a path inside the repository", r.field, r.value).
			WithHint("use a path relative to the kustomization")
	}
	_, err := fs.Stat(g.jail.fsys, rel)
	if errors.Is(err, fs.ErrNotExist) {
		return refuse(r.origin(), "%s %q is not in the repository", r.field, r.value).
			WithHint("add it, or remove the entry; remote files are not fetched")
	}
	if err != nil {
		return readFailure(rel, err)
	}
	return nil
}

// checkInline looks at documents that are written inside the kustomization.
func (g *guard) checkInline(k *types.Kustomization, at func(field, value string) reference) error {
	for _, p := range k.PatchesStrategicMerge {
		// The text is a patch, or else a path.
		if r := at("patchesStrategicMerge", string(p)); looksRemoteFile(r.value) {
			return refuseRemote(r)
		}
		if _, err := checkAliases(at("", "").file, []byte(p)); err != nil {
			return err
		}
	}
	for _, p := range append(slices.Clone(k.Patches), k.PatchesJson6902...) {
		if _, err := checkAliases(at("", "").file, []byte(p.Patch)); err != nil {
			return err
		}
	}
	return nil
}

// checkBases looks at what may be a file or a directory, and which Kustomize
// would otherwise try to clone.
func (g *guard) checkBases(k *types.Kustomization, at func(field, value string) reference) error {
	for _, p := range k.Resources {
		if _, err := g.local(at("resources", p)); err != nil {
			return err
		}
	}
	for _, p := range k.Components {
		if _, err := g.local(at("components", p)); err != nil {
			return err
		}
	}
	return nil
}

// local refuses a path that is remote or is not there. It returns the path in
// the repository.
func (g *guard) local(r reference) (string, error) {
	if looksRemote(r.value) {
		return "", refuseRemote(r)
	}
	rel := path.Join(path.Dir(r.file), r.value)
	if r.value == "" || path.IsAbs(r.value) || !fs.ValidPath(rel) {
		return "", refuse(r.origin(), "%s %q is not a path inside the repository", r.field, r.value).
			WithHint("use a path relative to the kustomization")
	}
	info, err := fs.Stat(g.jail.fsys, rel)
	if errors.Is(err, fs.ErrNotExist) {
		return "", refuse(r.origin(), "%s %q is not in the repository", r.field, r.value).
			WithHint("add it, or remove the entry; remote bases are not fetched")
	}
	if err != nil {
		return "", readFailure(rel, err)
	}
	if info.IsDir() && g.kustomizationIn(rel) == "" {
		return "", refuse(r.origin(), "%s %q is a directory without a kustomization", r.field, r.value).
			WithHint("add a kustomization.yaml to it, or list its files one by one")
	}
	return rel, nil
}

func (g *guard) kustomizationIn(dir string) string {
	for _, name := range konfig.RecognizedKustomizationFileNames() {
		if _, err := fs.Stat(g.jail.fsys, path.Join(dir, name)); err == nil {
			return path.Join(dir, name)
		}
	}
	return ""
}

// checkPlugins looks at generators, transformers and validators. Each entry is
// a document, a file, or a directory of files; which of them is decided the way
// Kustomize does it.
func (g *guard) checkPlugins(k *types.Kustomization, at func(field, value string) reference) error {
	var refs []reference
	for _, e := range k.Generators {
		refs = append(refs, at("generators", e))
	}
	for _, e := range k.Transformers {
		refs = append(refs, at("transformers", e))
	}
	for _, e := range k.Validators {
		refs = append(refs, at("validators", e))
	}
	for _, r := range refs {
		if err := g.checkPlugin(r); err != nil {
			return err
		}
	}
	return nil
}

func (g *guard) checkPlugin(r reference) error {
	if _, err := checkAliases(r.file, []byte(r.value)); err != nil {
		return err
	}
	configs, err := g.factory.NewResMapFromBytes([]byte(r.value))
	if err == nil {
		return checkConfigs(configs, r)
	}
	return g.checkPluginPath(r)
}

func (g *guard) checkPluginPath(r reference) error {
	rel, err := g.local(r)
	if err != nil {
		return err
	}
	raw, err := g.jail.read(rel)
	if errors.Is(err, errIsDir) {
		return g.checkPluginDir(rel, r)
	}
	if err != nil {
		return readFailure(rel, err)
	}
	configs, err := g.factory.NewResMapFromBytes(raw)
	if err != nil {
		return refuse(r.origin(), "%s %q is not a valid configuration: %s", r.field, r.value, cleanError(err))
	}
	return checkConfigs(configs, reference{file: rel, raw: raw})
}

// checkPluginDir allows a directory of configurations only if its kustomization
// does nothing but list them: anything that computes could put an address
// together out of parts that each look harmless.
func (g *guard) checkPluginDir(dir string, r reference) error {
	if g.plugins[dir] {
		return nil
	}
	g.plugins[dir] = true
	file := g.kustomizationIn(dir)
	raw, err := g.jail.read(file)
	if err != nil {
		return readFailure(file, err)
	}
	k := types.Kustomization{}
	if err := k.Unmarshal(raw); err != nil {
		return kustomizationFailure(file, raw, err)
	}
	k.FixKustomization()
	if !reflect.DeepEqual(k, types.Kustomization{TypeMeta: k.TypeMeta, MetaData: k.MetaData, Resources: k.Resources}) {
		return refuse(r.origin(), "%s %q is a kustomization that does more than list resources", r.field, r.value).
			WithHint("list the configurations themselves")
	}
	for _, p := range k.Resources {
		if err := g.checkPluginPath(reference{file, raw, "resources", p}); err != nil {
			return err
		}
	}
	return nil
}

// checkConfigs looks at every text in configurations of plugins, whatever the
// plugin makes of it.
func checkConfigs(configs resmap.ResMap, at reference) error {
	for _, c := range configs.Resources() {
		if c.GetKind() == "HelmChartInflationGenerator" {
			return refuse(at.origin(), "inflates a Helm chart, which is not done in a kustomization").
				WithHint("render the chart and commit the result")
		}
		if err := checkTextsOf(c.YNode(), at); err != nil {
			return err
		}
	}
	return nil
}

// checkTextsOf looks at n and all below it. Cycles of aliases were refused
// before.
func checkTextsOf(n *yaml.Node, at reference) error {
	if n.Kind == yaml.AliasNode {
		return checkTextsOf(n.Alias, at)
	}
	if n.Kind == yaml.ScalarNode {
		_, after, _ := strings.Cut(n.Value, "=") // key=path
		if looksRemoteFile(n.Value) || looksRemoteFile(after) {
			line := cmp.Or(lineOf(at.raw, n.Value), at.origin().Line)
			return refuseRemoteAt(Origin{at.file, line}, cmp.Or(at.field, "configuration"), n.Value)
		}
		_, err := checkAliases(at.file, []byte(n.Value))
		return err
	}
	for i, child := range n.Content {
		// Labels and annotations are text to set, never a path.
		if n.Kind == yaml.MappingNode && i%2 == 1 && slices.Contains([]string{"labels", "annotations"}, n.Content[i-1].Value) {
			continue
		}
		if err := checkTextsOf(child, at); err != nil {
			return err
		}
	}
	return nil
}

var (
	remoteStart = regexp.MustCompile(`^(?:[a-z][a-z0-9-]*@|[^/]*:|github\.com(?:/|$))`)
	remoteFile  = regexp.MustCompile(`^[a-z][a-z0-9+.-]*://|^https?:`)
)

// looksRemote reports whether Kustomize, or git, could take a path for
// something outside the repository. It takes in more than what Kustomize of
// today does: a local path can always be written with "./" in front.
func looksRemote(p string) bool {
	p = strings.ToLower(strings.TrimSpace(p))
	return remoteStart.MatchString(p) || strings.Contains(p, "://") || strings.Contains(p, "?ref=")
}

// looksRemoteFile is for text that need not be a path: it reports whether
// Kustomize would fetch it if it were.
func looksRemoteFile(p string) bool {
	return remoteFile.MatchString(strings.ToLower(strings.TrimSpace(p)))
}

func refuseRemote(r reference) *failure.Error { return refuseRemoteAt(r.origin(), r.field, r.value) }

func refuseRemoteAt(at Origin, field, value string) *failure.Error {
	return refuse(at, "%s %q is remote, and remote bases and files are not fetched", field, shorten(value)).
		WithHint("copy it into the repository and name it by its path (a local name with a colon or an @ needs ./ in front)")
}

func shorten(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	if len(text) > 100 {
		return strings.ToValidUTF8(text[:100], "") + "…"
	}
	return text
}

var unknownFieldPattern = regexp.MustCompile(`unknown field "([^"]+)"`)

func kustomizationFailure(file string, raw []byte, err error) error {
	if syntax := eachDocument(file, raw, func(*yaml.Node) error { return nil }); syntax != nil {
		return syntax
	}
	text := err.Error()
	if m := unknownFieldPattern.FindStringSubmatch(text); m != nil {
		return refuse(Origin{file, lineOf(raw, m[1])}, "has the field %q, which Kustomize does not know", m[1]).
			WithHint("correct or remove the field")
	}
	_, text, _ = strings.Cut(text, "invalid Kustomization: ")
	return refuse(Origin{File: file}, "is not a valid kustomization: %s", oneLine(text))
}

// checkAliases refuses YAML whose aliases expand without bound, and counts the
// nodes that they add: every parser after it expands them all. Text that is not
// YAML passes; it is data, or fails to parse.
func checkAliases(file string, raw []byte) (int, error) {
	if bytes.IndexByte(raw, '&') < 0 || bytes.IndexByte(raw, '*') < 0 {
		return 0, nil
	}
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	count := &aliasCount{file: file}
	for n := 0; n < maxDocuments; n++ {
		var node yaml.Node
		if err := decoder.Decode(&node); err != nil {
			return count.nodes, nil
		}
		if err := count.visit(&node, 0, false); err != nil {
			return 0, err
		}
	}
	return count.nodes, nil
}

type aliasCount struct {
	file  string
	nodes int
}

func (c *aliasCount) visit(n *yaml.Node, depth int, aliased bool) error {
	if aliased {
		c.nodes++
	}
	if depth > 10*maxDepth {
		return tooDeep(Origin{c.file, n.Line})
	}
	if c.nodes > maxAliased {
		return refuse(Origin{c.file, n.Line}, "aliases expand to more than %d nodes", maxAliased).
			WithHint("write the values out instead of repeating aliases")
	}
	if n.Kind == yaml.AliasNode {
		return c.visit(n.Alias, depth+1, true)
	}
	for _, child := range n.Content {
		if err := c.visit(child, depth+1, aliased); err != nil {
			return err
		}
	}
	return nil
}

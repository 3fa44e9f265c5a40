package kubectlplugin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/external"
	"github.com/gitseal/gitseal/providers"
)

type refsOptions struct {
	*session
	tree   tree
	name   string
	output string
}

func newRefsCommand(s *session) *cobra.Command {
	o := &refsOptions{session: s}
	cmd := &cobra.Command{
		Use:   "refs APP | -f DIRECTORY",
		Short: "List what an Application or a tree asks of stores",
		Long: `List what an Application asks of its stores: store, key, properties, the version in
use and since when; or what a tree of manifests asks: store, key, property, version, and
where. Values are never shown, nor read.`,
		Example: `  kubectl gitseal refs web -n shop
  kubectl gitseal refs -f envs/prod -o yaml`,
		Args:              arguments(0, 1),
		RunE:              runE(o),
		ValidArgsFunction: s.completeOneApplication,
	}
	o.tree.addFlags(cmd)
	addDocumentFlag(cmd, &o.output)
	return cmd
}

// Complete implements verb.
func (o *refsOptions) Complete(cmd *cobra.Command, args []string) error {
	if (len(args) == 1) == (o.tree.dir != "") {
		return usagef(cmd, "name either an Application, or a directory with -f")
	}
	if len(args) == 1 {
		o.name = args[0]
	}
	if err := checkDocumentFormat(cmd, o.output); err != nil {
		return err
	}
	return o.tree.complete(o.session, cmd)
}

// Run implements verb.
func (o *refsOptions) Run(ctx context.Context) error {
	if o.name != "" {
		return o.ofApplication(ctx)
	}
	c, err := o.tree.read(ctx)
	if err != nil {
		return err
	}
	var rows []reference
	for _, r := range c.references {
		rows = append(rows, describe(r))
	}
	return o.write(rows)
}

func (o *refsOptions) ofApplication(ctx context.Context) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	app, err := getApplication(ctx, c, o.tree.namespace, o.name)
	if err != nil {
		return err
	}
	if app.Status.Secrets == nil {
		return o.write(nil)
	}
	var rows []reference
	for _, r := range app.Status.Secrets.References {
		rows = append(rows, reference{Store: storeName(r.Store), Key: r.Key, Property: strings.Join(r.Properties, ", "), Version: r.Version, ChangedAt: r.ChangedAt})
	}
	if more := app.Status.Secrets.MoreReferences; more > 0 {
		o.warnf("%d more are not in the status of the Application", more)
	}
	return o.write(rows)
}

// reference is one row.
type reference struct {
	Store     string       `json:"store"`
	Key       string       `json:"key,omitempty"`
	Find      string       `json:"find,omitempty"`
	Property  string       `json:"property,omitempty"`
	Version   string       `json:"version,omitempty"`
	ChangedAt *metav1.Time `json:"changedAt,omitempty"`
	Secret    string       `json:"secret,omitempty"`
	SecretKey string       `json:"secretKey,omitempty"`
	Place     string       `json:"place,omitempty"`
}

func describe(r external.Reference) reference {
	row := reference{
		Store: storeName(r.Store), Key: r.Ref.Key, Property: r.Property, Version: r.Ref.Version,
		Secret: r.Target, SecretKey: r.SecretKey, Place: r.Origin.String(),
	}
	if r.Ref.Metadata {
		row.Property = strings.TrimSpace("metadata " + row.Property)
	}
	if r.Find != nil {
		row.Find = describeQuery(*r.Find)
	}
	return row
}

func describeQuery(q providers.Query) string {
	var parts []string
	if q.Path != "" {
		parts = append(parts, "path "+q.Path)
	}
	if q.Name != "" {
		parts = append(parts, "name "+q.Name)
	}
	for _, tag := range slices.Sorted(maps.Keys(q.Tags)) {
		parts = append(parts, fmt.Sprintf("tag %s=%s", tag, q.Tags[tag]))
	}
	return strings.Join(parts, ", ")
}

// storeName is how stores are named on the command line.
func storeName(ref v1alpha1.StoreReference) string {
	if ref.Name == "" {
		return orNone("") // it is the Application's to say
	}
	kind := ref.Kind
	if kind == "" {
		kind = v1alpha1.KindSecretStore
	}
	return strings.ToLower(string(kind)) + "/" + ref.Name
}

func (o *refsOptions) write(rows []reference) error {
	if o.output != "" {
		return o.printDocument(o.output, map[string]any{"references": rows})
	}
	if len(rows) == 0 {
		o.sayf("No references to stores found.")
		return nil
	}
	if o.name != "" {
		t := o.newTable("STORE", "KEY", "PROPERTY", "VERSION", "AGE")
		for _, r := range rows {
			age := orNone("")
			if r.ChangedAt != nil {
				age = o.age(*r.ChangedAt)
			}
			t.row(r.Store, r.Key, orNone(r.Property), orNone(r.Version), age)
		}
		return t.flush()
	}
	t := o.newTable("STORE", "KEY", "PROPERTY", "VERSION", "SECRET", "PLACE")
	for _, r := range rows {
		key, target := r.Key, r.Secret
		if r.Find != "" {
			key = "<" + r.Find + ">"
		}
		if r.SecretKey != "" {
			target += "[" + r.SecretKey + "]"
		}
		t.row(r.Store, key, orNone(r.Property), orNone(r.Version), target, r.Place)
	}
	return t.flush()
}

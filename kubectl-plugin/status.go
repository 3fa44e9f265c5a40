package kubectlplugin

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

type statusOptions struct {
	*session
	name      string
	namespace string
	output    string
}

func newStatusCommand(s *session) *cobra.Command {
	o := &statusOptions{session: s}
	cmd := &cobra.Command{
		Use:   "status APP",
		Short: "Show what became of an Application, and why",
		Long: `Show what became of an Application, and why: its source, conditions, secrets,
objects, drift, conflicts with other Applications, run-once objects and last
syncs, and what to do next. Values of secrets are never shown.

Exits with 0 when the Application is Ready at its latest generation, otherwise
with 1.`,
		Args:              arguments(1, 1),
		RunE:              runE(o),
		ValidArgsFunction: s.completeOneApplication,
	}
	addDocumentFlag(cmd, &o.output)
	return cmd
}

func (o *statusOptions) Complete(cmd *cobra.Command, args []string) (err error) {
	o.name = args[0]
	if err := checkDocumentFormat(cmd, o.output); err != nil {
		return err
	}
	o.namespace, err = o.session.namespace()
	return err
}

func (o *statusOptions) Run(ctx context.Context) error {
	c, err := o.client()
	if err != nil {
		return err
	}
	app, err := getApplication(ctx, c, o.namespace, o.name)
	if err != nil {
		return err
	}
	r := newReport(app)
	if o.output != "" {
		err = o.printDocument(o.output, r)
	} else {
		err = o.writeReport(r)
	}
	if err == nil && !r.Ready {
		err = errSilent
	}
	return err
}

// report is the document that status prints. Its fields are chosen one by one:
// an Application's annotations may hold what others put there.
type report struct {
	Name       string                    `json:"name"`
	Namespace  string                    `json:"namespace"`
	Ready      bool                      `json:"ready"`
	Suspend    *v1alpha1.Suspend         `json:"suspend,omitempty"`
	Source     reportSource              `json:"source"`
	Conditions []metav1.Condition        `json:"conditions,omitempty"`
	Secrets    v1alpha1.SecretsStatus    `json:"secrets"`
	Resources  *v1alpha1.ResourcesStatus `json:"resources,omitempty"`
	Drift      []v1alpha1.DriftStatus    `json:"drift,omitempty"`
	Conflicts  []v1alpha1.ConflictStatus `json:"conflicts,omitempty"`
	Runs       []v1alpha1.RunStatus      `json:"runs,omitempty"`
	History    []v1alpha1.HistoryEntry   `json:"history,omitempty"`

	Confirmation *v1alpha1.ConfirmationStatus `json:"confirmation,omitempty"`
}

// reportSource is where the Application comes from and what was applied last.
type reportSource struct {
	URL  string          `json:"url"`
	Ref  v1alpha1.GitRef `json:"ref"`
	Path string          `json:"path"`
	v1alpha1.SourceStatus
}

func newReport(app *v1alpha1.Application) report {
	r := report{
		Name: app.Name, Namespace: app.Namespace, Ready: isReady(app), Suspend: app.Spec.Suspend,
		Source:     reportSource{URL: app.Spec.Source.Git.URL, Ref: app.Spec.Source.Git.Ref, Path: app.Spec.Source.Path},
		Conditions: app.Status.Conditions, Resources: app.Status.Resources, History: app.Status.History,
		Drift: app.Status.Drift, Conflicts: app.Status.Conflicts, Runs: app.Status.Runs, Confirmation: app.Status.Confirmation,
		Secrets: v1alpha1.SecretsStatus{Policy: app.Spec.Secrets.Policy},
	}
	if app.Status.Source != nil {
		r.Source.SourceStatus = *app.Status.Source
	}
	if app.Status.Secrets != nil {
		r.Secrets = *app.Status.Secrets
	}
	return r
}

// isReady reports whether the operator calls the latest generation Ready.
func isReady(app *v1alpha1.Application) bool {
	return app.Status.ObservedGeneration == app.Generation &&
		meta.IsStatusConditionTrue(app.Status.Conditions, v1alpha1.ConditionReady)
}

func describeSecrets(s v1alpha1.SecretsStatus) string {
	if s.Policy == v1alpha1.PolicyExternal {
		return fmt.Sprintf("policy %s, %s of Secrets resolved from %s of stores", s.Policy, count(s.Resolved, "key"), count(int32(len(s.References))+s.MoreReferences, "value"))
	}
	return fmt.Sprintf("policy %s, %s, %s opened", s.Policy, count(s.Files, "file"), count(s.Opened, "value"))
}

func (o *statusOptions) writeReport(r report) error {
	t := o.newTable()
	t.row("Application:", r.Namespace+"/"+r.Name)
	t.row("State:", o.state(r))
	t.row("Source:", r.Source.URL)
	t.row("Follows:", describeRef(r.Source.Ref)+", path "+r.Source.Path)
	t.row("Revision:", orNone(r.Source.Revision))
	if r.Source.Revision != "" {
		t.row("Commit:", fmt.Sprintf("%q by %s", r.Source.Subject, r.Source.Author))
	}
	if r.Source.Signer != "" {
		t.row("Signed by:", r.Source.Signer)
	}
	t.row("Secrets:", describeSecrets(r.Secrets))
	if n := r.Resources; n != nil {
		t.row("Resources:", fmt.Sprintf("%d desired, %d applied, %d drifted, %d unhealthy", n.Desired, n.Applied, n.Drifted, n.Unhealthy))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if err := o.writeConditions(r.Conditions); err != nil {
		return err
	}
	if err := o.writeObjects(r); err != nil {
		return err
	}
	if err := o.writeHistory(r.History); err != nil {
		return err
	}
	o.writeNext(r)
	return nil
}

// count is a number of things, in words.
func count(n int32, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return fmt.Sprintf("%d %s", n, thing)
}

// state is the one line that matters. It is not coloured: escape codes would
// count as width of the column.
func (o *statusOptions) state(r report) string {
	ready := meta.FindStatusCondition(r.Conditions, v1alpha1.ConditionReady)
	var state string
	switch {
	case r.Ready:
		state = "Ready"
	case ready == nil:
		state = "Unknown: the operator has not reported yet"
	default:
		state = "Not ready: " + ready.Reason
	}
	if isSuspended(r.Suspend, o.clock.Now()) {
		state += " (suspended" + describeSuspend(r.Suspend) + ")"
	}
	return state
}

func (o *statusOptions) writeConditions(conditions []metav1.Condition) error {
	if len(conditions) == 0 {
		return nil
	}
	fmt.Fprintln(o.Out)
	t := o.newTable("CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE")
	for _, c := range conditions {
		t.row(c.Type, string(c.Status), c.Reason, o.age(c.LastTransitionTime), c.Message)
	}
	return t.flush()
}

func (o *statusOptions) writeHistory(history []v1alpha1.HistoryEntry) error {
	if len(history) == 0 {
		return nil
	}
	fmt.Fprintln(o.Out)
	t := o.newTable("SYNCED", "REVISION", "CHANGED", "BECAUSE", "AUTHOR")
	for _, h := range history {
		t.row(o.age(h.AppliedAt)+" ago", shorten(h.Revision), fmt.Sprint(h.Changed), h.Reason, h.Author)
	}
	return t.flush()
}

// describeRef is the reference that is followed, in words.
func describeRef(ref v1alpha1.GitRef) string {
	switch {
	case ref.Tag != "":
		return "tag " + ref.Tag
	case ref.SemVer != "":
		return "semver " + ref.SemVer
	case ref.Commit != "":
		return "commit " + ref.Commit
	case ref.Branch != "":
		return "branch " + ref.Branch
	}
	return "branch main"
}

var commitHex = regexp.MustCompile(`sha1:[0-9a-f]{40}$`)

// shorten keeps of a revision what is told apart by eye: main@sha1:1a2b3c4d5e.
func shorten(revision string) string {
	if commitHex.MatchString(revision) {
		return revision[:len(revision)-30]
	}
	return revision
}

func shortRevision(source *v1alpha1.SourceStatus) string {
	if source == nil {
		return ""
	}
	return shorten(strings.TrimSpace(source.Revision))
}

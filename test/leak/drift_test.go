package leak

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
)

// drifts are the ways in which somebody changes a Secret in the cluster, and in
// which that is told.
func drifts() map[string]scenario {
	return map[string]scenario{
		"corrected drift": {run: func(p *play) {
			p.intrude()
			p.until("an event of the correction", p.corrected)
			p.more()
		}},
		"reported drift": {run: func(p *play) {
			p.edit(func(s *v1alpha1.ApplicationSpec) { s.Sync.Drift = v1alpha1.DriftReport })
			p.until("the policy observed", p.observed)
			p.intrude()
			p.until("the drift reported", p.drifted(v1alpha1.ReasonDriftReported))
			p.more()
		}},
		"contested drift": {run: func(p *play) {
			patch := p.intrude()
			p.until("the drift contested", func(ctx context.Context) error {
				if err := p.patch(ctx, patch); err != nil {
					return err
				}
				return p.drifted(v1alpha1.ReasonContested)(ctx)
			})
			p.more()
		}},
	}
}

// more is another revision, so that the play goes on.
func (p *play) more() { p.encrypt("db.yaml", p.secret("db", nil)) }

// intrude puts a value that belongs to nobody in place of one from Git, under
// a field manager of that name.
func (p *play) intrude() (patch string) {
	p.t.Helper()
	one := p.canary("intruder")
	one.secret, one.key = p.ns+"/good", firstShape()
	patch = fmt.Sprintf(`{"data":{%q:%q}}`, one.key, base64.StdEncoding.EncodeToString([]byte(one.value)))
	if err := p.patch(p.t.Context(), patch); err != nil {
		p.t.Fatal(err)
	}
	return patch
}

func firstShape() string { return slices.Min(sortedKeys(shapes())) }

func (p *play) patch(ctx context.Context, patch string) error {
	s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.ns, Name: "good"}}
	return sandbox.Client.Patch(ctx, s, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner("intruder"))
}

// observed reports whether the spec as it is was carried out.
func (p *play) observed(ctx context.Context) error {
	app := &v1alpha1.Application{}
	if err := sandbox.Client.Get(ctx, client.ObjectKeyFromObject(p.app), app); err != nil {
		return err
	}
	if app.Status.ObservedGeneration != app.Generation {
		return fmt.Errorf("generation %d, of which %d is observed", app.Generation, app.Status.ObservedGeneration)
	}
	return nil
}

// corrected looks for the event that tells of the correction.
func (p *play) corrected(ctx context.Context) error {
	var list eventsv1.EventList
	if err := sandbox.Client.List(ctx, &list, client.InNamespace(p.ns)); err != nil {
		return err
	}
	for _, e := range list.Items {
		if strings.HasPrefix(e.Note, `Corrected drift of Secret "good"`) && strings.Contains(e.Note, firstShape()) && strings.Contains(e.Note, `"intruder"`) {
			return nil
		}
	}
	return fmt.Errorf("%d events, none of a correction", len(list.Items))
}

func (p *play) drifted(reason string) func(context.Context) error {
	return func(ctx context.Context) error {
		app := &v1alpha1.Application{}
		if err := sandbox.Client.Get(ctx, client.ObjectKeyFromObject(p.app), app); err != nil {
			return err
		}
		c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionDrifted)
		if c == nil || c.Reason != reason || len(app.Status.Drift) != 1 || app.Status.Drift[0].Manager != "intruder" {
			return fmt.Errorf("condition %+v, %d objects in status.drift", c, len(app.Status.Drift))
		}
		return nil
	}
}

// until polls until check finds nothing wrong.
func (p *play) until(what string, check func(context.Context) error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), patience)
	defer cancel()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("%s: not after %s: %v", what, patience, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

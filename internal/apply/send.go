package apply

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/health"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/secret"
)

// Accept headers. Metadata alone comes back for every object whose health is
// not in its status, all Secrets among them.
const (
	acceptMetadata     = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
	acceptMetadataList = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"
	acceptObject       = "application/json"
)

// answer is what the API server says of an object that was sent.
type answer struct {
	object live.Object
	state  health.State
	note   string
}

// send applies one item server-side. With dryRun nothing is stored.
func (e *Engine) send(ctx context.Context, item Item, values *secret.Set, dryRun bool) (answer, error) {
	accept := acceptMetadata
	if item.HasStatus {
		accept = acceptObject
	}
	raw, err := e.patch(ctx, item, values, dryRun, accept)
	if err != nil {
		return answer{}, err
	}
	return readAnswer(raw, item, item.HasStatus)
}

// patch applies one item server-side and returns the answer.
func (e *Engine) patch(ctx context.Context, item Item, values *secret.Set, dryRun bool, accept string) ([]byte, error) {
	client, err := e.clients.REST(item.Scope.Identity)
	if err != nil {
		return nil, err
	}
	body, err := inject(item, values)
	if err != nil {
		return nil, err
	}
	if !dryRun {
		if body, err = item.claim.bind(body); err != nil {
			return nil, fmt.Errorf("claim %s: %w", item.ID, err)
		}
	}
	request := client.Patch(types.ApplyYAMLPatchType).AbsPath(item.path).
		SetHeader("Accept", accept).
		Param("fieldManager", v1alpha1.FieldManager).Param("force", "true")
	if dryRun {
		request = request.Param("dryRun", metav1.DryRunAll)
	}
	result := request.Body(body).Do(ctx)
	if err := result.Error(); err != nil {
		if !dryRun && item.claim != nil && apierrors.IsConflict(err) {
			return nil, errLost
		}
		return nil, e.refusal(ctx, item, "patch", err)
	}
	raw, err := result.Raw()
	if err != nil {
		return nil, e.refusal(ctx, item, "patch", err)
	}
	return raw, nil
}

func readAnswer(raw []byte, item Item, whole bool) (answer, error) {
	var m metav1.PartialObjectMetadata
	if err := json.Unmarshal(raw, &m); err != nil {
		// The text of a decoding error may quote its input.
		return answer{}, fmt.Errorf("read the API server's answer about %s: it is no object", item.ID)
	}
	a := answer{object: live.Describe(&m), state: health.Current}
	if whole {
		var u unstructured.Unstructured
		if err := u.UnmarshalJSON(raw); err != nil {
			return answer{}, fmt.Errorf("read the API server's answer about %s: it is no object", item.ID)
		}
		a.state, a.note = healthOf(item, &u)
	}
	return a, nil
}

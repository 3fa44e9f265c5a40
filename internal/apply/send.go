package apply

import (
	"context"
	"encoding/json"
	"fmt"

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
	acceptMetadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
	acceptObject   = "application/json"
)

// answer is what the API server says of an object that was sent.
type answer struct {
	object live.Object
	state  health.State
	note   string
}

// send applies one item server-side. With dryRun nothing is stored.
func (e *Engine) send(ctx context.Context, item Item, values *secret.Set, dryRun bool) (answer, error) {
	client, err := e.clients.REST(item.Scope.Identity)
	if err != nil {
		return answer{}, err
	}
	body, err := inject(item, values)
	if err != nil {
		return answer{}, err
	}
	wantObject := item.HasStatus
	accept := acceptMetadata
	if wantObject {
		accept = acceptObject
	}
	request := client.Patch(types.ApplyYAMLPatchType).AbsPath(item.path).
		SetHeader("Accept", accept).
		Param("fieldManager", v1alpha1.FieldManager).Param("force", "true")
	if dryRun {
		request = request.Param("dryRun", metav1.DryRunAll)
	}
	result := request.Body(body).Do(ctx)
	if err := result.Error(); err != nil {
		return answer{}, e.refusal(ctx, item, "patch", err)
	}
	raw, err := result.Raw()
	if err != nil {
		return answer{}, e.refusal(ctx, item, "patch", err)
	}
	return readAnswer(raw, item, wantObject)
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

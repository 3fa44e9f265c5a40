package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
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
	raw, err := e.sendBeside(ctx, item, values, dryRun, accept)
	if err != nil {
		return answer{}, err
	}
	return readAnswer(raw, item, item.HasStatus)
}

// maxConflicts is how often an object is read again because it changed before
// it was written.
const maxConflicts = 5

// sendBeside sends an item so that fields which others own stay as they are.
// Where there are none the object need not be read.
func (e *Engine) sendBeside(ctx context.Context, item Item, values *secret.Set, dryRun bool, accept string) ([]byte, error) {
	if !e.shared(item) {
		return e.patch(ctx, item, nil, values, dryRun, accept)
	}
	for tries := 1; ; tries++ {
		have, err := e.get(ctx, item)
		if err != nil {
			return nil, err
		}
		raw, err := e.patch(ctx, item, have, values, dryRun, accept)
		if !errors.Is(err, errChanged) || tries == maxConflicts {
			return raw, err
		}
	}
}

// errChanged: the object is not at the version that was read.
var errChanged = errors.New("it changes too fast to be written")

// patch applies one item server-side and returns the answer. Have is the live
// object, where there is one that decides what is sent.
func (e *Engine) patch(ctx context.Context, item Item, have *unstructured.Unstructured, values *secret.Set, dryRun bool, accept string) ([]byte, error) {
	client, err := e.clients.REST(item.Scope.Identity)
	if err != nil {
		return nil, err
	}
	body, err := inject(item, values)
	if err != nil {
		return nil, err
	}
	beside := have != nil && (len(item.ignored) > 0 || live.IsScaled(have.GetManagedFields()))
	if beside {
		if body, err = yield(item, body, have); err != nil {
			return nil, fmt.Errorf("read %s: it is no object", item.ID)
		}
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
		switch conflict := apierrors.IsConflict(err); {
		case conflict && !dryRun && item.claim != nil:
			return nil, errLost
		case conflict && beside:
			return nil, failure.Failf(v1alpha1.ReasonApplyFailed, "%s: %w", item.ID, errChanged)
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

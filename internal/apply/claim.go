package apply

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/failure"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/secret"
)

// Rules say whose objects may be taken.
type Rules struct {
	// Adopt: those of other tools, too.
	Adopt bool
	Now   time.Time
	// Parent tells which living Application an ApplySet belongs to. What it
	// does not know must not be taken for dead because a cache is behind.
	Parent func(ctx context.Context, applySet string) (parent types.NamespacedName, ok bool, err error)
}

// claim is what must hold for an item that is not known to be ours to be sent.
// The API server checks it in the very write: of two who find nothing there,
// one creates the object and the other is told that it lost.
type claim struct {
	rules Rules
	own   string // our ApplySet
	// applySet is the one that the watch saw the object in, if in any.
	applySet string
	// uid and version are those of the object that was looked at; uid is empty
	// where there was none.
	uid     types.UID
	version string
	// scaled: an autoscaler owns its replicas.
	scaled bool
	// adopt is what to clear away first.
	adopt *adoption
	// later: what comes in a lower sync wave may make the object.
	later bool
}

// neverVersion is a resource version that no object has: etcd's first write
// makes the second. Server-side apply ignores it where it creates an object and
// takes it for a conflict where there is one.
const neverVersion = "1"

// errLost: what was claimed is not as it was when it was looked at.
var errLost = errors.New("the object was changed by somebody else")

// bind writes the claim into a body that is about to be sent.
func (c *claim) bind(body []byte) ([]byte, error) {
	if c == nil {
		return body, nil
	}
	var object, metadata map[string]json.RawMessage
	// The text of a decoding error may quote a value.
	if json.Unmarshal(body, &object) != nil || json.Unmarshal(object["metadata"], &metadata) != nil {
		return nil, errors.New("the object cannot be read")
	}
	want := map[string]string{"resourceVersion": neverVersion}
	if c.uid != "" {
		want = map[string]string{"resourceVersion": c.version, "uid": string(c.uid)}
	}
	for field, value := range want {
		if value == "" {
			continue // at any version
		}
		metadata[field], _ = json.Marshal(value) // a string can be
	}
	bound, err := json.Marshal(metadata)
	if err != nil {
		return nil, errors.New("the object cannot be written")
	}
	object["metadata"] = bound
	return json.Marshal(object)
}

// Conflict is an object that another Application owns.
type Conflict struct {
	ID          ID
	Application types.NamespacedName
}

// conflictError says so of one item.
type conflictError struct {
	Conflict
	item Item
}

func (e *conflictError) Error() string {
	return fmt.Sprintf("%s: %s already belongs to Application %s", e.item.Origin, e.ID, e.Application)
}

// Conflicts lists the objects of other Applications that an error speaks of.
func Conflicts(err error) []Conflict {
	switch e := err.(type) { //nolint:errorlint // it walks the tree itself
	case nil:
		return nil
	case *conflictError:
		return []Conflict{e.Conflict}
	case interface{ Unwrap() []error }:
		var all []Conflict
		for _, inner := range e.Unwrap() {
			all = append(all, Conflicts(inner)...)
		}
		return all
	case interface{ Unwrap() error }:
		return Conflicts(e.Unwrap())
	}
	return nil
}

// Claim looks at the objects that items would take over, before anything is
// sent, and returns the items with what must hold when they are. Members that
// a watch shows cost nothing; the others are read by their metadata, and those
// that the ledger knows are not read before they turn out to be there. Nothing
// is read twice before it is sent: a claim that has aged is lost, no more.
func (e *Engine) Claim(ctx context.Context, t Target, items []Item, ledger *Ledger, rules Rules) ([]Item, error) {
	own := t.ApplySet()
	claimed := slices.Clone(items)
	first := lowestWave(items)
	var unseen []*Item
	var errs []error
	for i := range claimed {
		item := &claimed[i]
		if item.Once {
			continue // what is there is nobody's to take
		}
		item.claim = &claim{rules: rules, own: own, later: item.SyncWave > first}
		o, presence := e.watches.Find(item.Scope, item.key(), 0)
		_, known := ledger.get(item.ID)
		before := ledger.claimOf(item.ID)
		switch {
		case item.Awaited && presence == live.Present && o.ApplySet == own:
			item.claim.uid = o.UID
		case presence == live.Present && o.ApplySet == own && item.borrows(o):
			item.claim.applySet = own
			unseen = append(unseen, item)
		case !item.Awaited && (presence == live.Present && o.ApplySet == own || presence == live.Unknown && known):
			item.claim = nil
		case item.Brought, !item.Awaited && presence == live.Absent && known:
		case presence != live.Present && before != nil && before.rules.Adopt == rules.Adopt && (before.uid != "" || !item.Awaited):
			held := *before
			held.rules = rules
			item.claim, item.scaled = &held, held.scaled
		default:
			item.claim.applySet = o.ApplySet
			err := e.taken(ctx, *item, o)
			if err == nil || errors.Is(err, errLost) {
				unseen = append(unseen, item)
			} else {
				errs = append(errs, err)
			}
		}
	}
	if len(errs) > 0 {
		return nil, inOrder(errs)
	}
	if err := e.inspect(ctx, unseen); err != nil {
		return nil, err
	}
	for _, item := range unseen {
		if item.claim != nil {
			ledger.claimed(item.ID, item.claim)
		}
	}
	return claimed, nil
}

// inspect reads what is there of items and decides of each.
func (e *Engine) inspect(ctx context.Context, items []*Item) error {
	type place struct {
		live.Scope
		applySet string
	}
	byPlace := map[place][]*Item{}
	for _, item := range items {
		p := place{item.Scope, item.claim.applySet}
		byPlace[p] = append(byPlace[p], item)
	}
	var (
		mu   sync.Mutex
		errs []error
		g    errgroup.Group
	)
	g.SetLimit(maxLooks)
	for _, some := range byPlace {
		g.Go(func() error {
			found, err := e.find(ctx, some)
			if err != nil {
				return err
			}
			for _, item := range some {
				err := e.settle(ctx, item, found[item.key()])
				mu.Lock()
				errs = append(errs, err)
				mu.Unlock()
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return inOrder(errs)
}

// inOrder puts errors into an order that does not change from run to run.
// Conflicts come first: to adopt would not end them.
func inOrder(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	slices.SortStableFunc(errs, func(a, b error) int {
		x, y := Conflicts(a), Conflicts(b)
		if len(x)+len(y) == 2 {
			return compareIDs(x[0].ID, y[0].ID)
		}
		return cmp.Or(cmp.Compare(len(y), len(x)), cmp.Compare(a.Error(), b.Error()))
	})
	return errors.Join(errs...)
}

// maxLooks is how many places one Application looks at at once.
const maxLooks = 8

// pageSize is how many objects one answer lists.
const pageSize = 500

type metadataByKey map[live.Key]*metav1.PartialObjectMetadata

// find reads the metadata of items of one scope: one get for a single item, one
// list for several. Those that are not there are not in the answer.
func (e *Engine) find(ctx context.Context, items []*Item) (metadataByKey, error) {
	first := items[0].claim
	if first.applySet == "" && e.strangers.lacks(items, first.rules.Now) {
		return nil, nil
	}
	if len(items) > 1 {
		return e.listMetadata(ctx, items)
	}
	found := metadataByKey{}
	return found, e.getMissing(ctx, items, found)
}

func (e *Engine) getMissing(ctx context.Context, items []*Item, found metadataByKey) error {
	for _, item := range items {
		if found[item.key()] != nil {
			continue
		}
		m, err := e.getMetadata(ctx, *item)
		if err != nil {
			return err
		}
		if m != nil {
			found[item.key()] = m
		}
	}
	return nil
}

func (e *Engine) getMetadata(ctx context.Context, item Item) (*metav1.PartialObjectMetadata, error) {
	client, err := e.clients.REST(item.Scope.Identity)
	if err != nil {
		return nil, err
	}
	raw, err := client.Get().AbsPath(item.path).SetHeader("Accept", acceptMetadata).Do(ctx).Raw()
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, e.refusal(ctx, item, "get", err)
	}
	m := &metav1.PartialObjectMetadata{}
	if json.Unmarshal(raw, m) != nil {
		return nil, fmt.Errorf("read %s: the API server's answer is no object", item.ID)
	}
	return m, nil
}

// listMetadata lists the scope of items page by page, unless it holds so much
// else that to read one by one takes fewer calls. What is in other ApplySets is
// left out: the watches show it, and a namespace may hold a thousand Applications.
func (e *Engine) listMetadata(ctx context.Context, items []*Item) (metadataByKey, error) {
	first := *items[0]
	client, err := e.clients.REST(first.Scope.Identity)
	if err != nil {
		return nil, err
	}
	wanted := map[live.Key]bool{}
	for _, item := range items {
		wanted[item.key()] = true
	}
	selector := "!" + v1alpha1.ApplySetPartOfLabel
	if set := first.claim.applySet; set != "" {
		selector = v1alpha1.ApplySetPartOfLabel + "=" + set
	}
	found, keys := metadataByKey{}, map[live.Key]bool{}
	for next := ""; ; {
		request := client.Get().AbsPath(resourcePath(first.Scope.Resource, first.Scope.Namespace)).
			SetHeader("Accept", acceptMetadataList).
			Param("labelSelector", selector).Param("limit", fmt.Sprint(pageSize))
		if next != "" {
			request = request.Param("continue", next)
		}
		raw, err := request.Do(ctx).Raw()
		if apierrors.IsNotFound(err) {
			return found, nil
		}
		if err != nil {
			return nil, e.refusal(ctx, first, "list", err)
		}
		var page metav1.PartialObjectMetadataList
		if json.Unmarshal(raw, &page) != nil {
			return nil, fmt.Errorf("list %s: the API server's answer is no list", first.Scope)
		}
		for i := range page.Items {
			m := &page.Items[i]
			key := live.Key{Namespace: m.Namespace, Name: m.Name}
			if keys[key] = true; wanted[key] {
				found[key] = m
			}
		}
		if next = page.Continue; next == "" {
			if first.claim.applySet == "" {
				e.strangers.remember(first.Scope, keys, first.claim.rules.Now)
			}
			return found, nil
		}
		if len(found) == len(wanted) {
			return found, nil
		}
		if more := page.RemainingItemCount; more != nil && *more/pageSize > int64(len(wanted)-len(found)) {
			return found, e.getMissing(ctx, items, found)
		}
	}
}

// decide turns what is there of an item into a claim, or says whose it is.
func (e *Engine) decide(ctx context.Context, item *Item, m *metav1.PartialObjectMetadata) error {
	c := claim{rules: item.claim.rules, own: item.claim.own, later: item.claim.later}
	if m == nil {
		item.claim = &c
		return item.awaits()
	}
	o := live.Describe(m)
	item.scaled = o.Scaled
	if o.ApplySet == c.own && item.borrows(o) {
		o.ApplySet = "" // it says only that we merged into it
	}
	if o.ApplySet == c.own {
		item.claim = nil
		if item.Awaited {
			c.uid, item.claim = m.UID, &c
		}
		return nil
	}
	if err := e.taken(ctx, *item, o); err != nil {
		return err
	}
	c.uid, c.version, c.scaled = m.UID, m.ResourceVersion, o.Scaled
	if !c.rules.Adopt {
		if marks := standingAgainst(*item, marksOf(m, o)); len(marks) > 0 {
			return marks[0].refusal(*item)
		}
	} else if !item.Merged {
		c.adopt = adoptionOf(m, o, c.own, item.Scope.Resource.GroupVersion().String())
	}
	item.claim = &c
	return nil
}

// taken says so where an object belongs to another Application, and has the
// watch tell us when it changes. It may have changed since it was read.
func (e *Engine) taken(ctx context.Context, item Item, o live.Object) error {
	if o.ApplySet == "" {
		return nil
	}
	parent, ok, err := item.claim.rules.Parent(ctx, o.ApplySet)
	if err != nil || !ok {
		return err
	}
	e.watches.Await(item.claim.own, item.Scope, item.key())
	now, presence := e.watches.Find(item.Scope, item.key(), o.ResourceVersion)
	if presence == live.Absent || presence == live.Present && now.ApplySet != o.ApplySet {
		return errLost
	}
	return failure.Stallf(v1alpha1.ReasonObjectConflict, "%w", &conflictError{Conflict{item.ID, parent}, item}).
		WithHint("remove it from one of the two; what the other one drops is handed over, not pruned")
}

// settle decides of an item, anew as long as it changes meanwhile.
func (e *Engine) settle(ctx context.Context, item *Item, m *metav1.PartialObjectMetadata) error {
	for range maxTakes {
		err := e.decide(ctx, item, m)
		if !errors.Is(err, errLost) {
			return err
		}
		if m, err = e.getMetadata(ctx, *item); err != nil {
			return err
		}
	}
	return lost(*item)
}

func lost(item Item) error {
	return failure.Failf(v1alpha1.ReasonApplyFailed, "%s: take %s: %w", item.Origin, item.ID, errLost)
}

// maxTakes is how often an object is looked at anew because it was changed
// between the look and the write.
const maxTakes = 5

// take sends an item under its claim. Where that does not hold any more, it
// looks again and decides anew.
func (e *Engine) take(ctx context.Context, item Item, ledger *Ledger, values *secret.Set) (answer, error) {
	item = item.due()
	for range maxTakes {
		if !item.unfound() {
			a, err := e.adoptAndSend(ctx, item, ledger, values)
			if !errors.Is(err, errLost) {
				return a, err
			}
		}
		m, err := e.getMetadata(ctx, item)
		if err != nil {
			return answer{}, err
		}
		if err := e.settle(ctx, &item, m); err != nil {
			return answer{}, err
		}
	}
	return answer{}, lost(item)
}

func (e *Engine) adoptAndSend(ctx context.Context, item Item, ledger *Ledger, values *secret.Set) (answer, error) {
	if item.claim != nil && item.claim.adopt != nil {
		if err := e.adopt(ctx, &item, ledger); err != nil {
			return answer{}, err
		}
	}
	return e.send(ctx, item, values, false)
}

// OwnerOf returns the ApplySet that an object was in when the watches saw it
// last, "" if it was in none. Watched: one of scopes covers it.
func (e *Engine) OwnerOf(scopes []live.Scope, id ID) (applySet string, watched bool) {
	mapping, err := e.mapper.RESTMapping(id.GroupKind)
	if err != nil {
		return "", false
	}
	for _, s := range scopes {
		if s.Resource.GroupResource() == mapping.Resource.GroupResource() && s.Namespace == id.Namespace {
			o, _ := e.watches.Find(s, live.Key{Namespace: id.Namespace, Name: id.Name}, 0)
			return o.ApplySet, true
		}
	}
	return "", false
}

// IDOf names a member by its kind; by its resource where the API server does
// not serve that any more.
func (e *Engine) IDOf(m Member) ID {
	id := ID{GroupKind: schema.GroupKind{Group: m.Scope.Resource.Group, Kind: m.Scope.Resource.Resource}, Namespace: m.Key.Namespace, Name: m.Key.Name}
	if kind, err := e.mapper.KindFor(m.Scope.Resource); err == nil {
		id.Kind = kind.Kind
	}
	return id
}

// Named lists those of members that ids name.
func (e *Engine) Named(members []Member, ids []ID) []Member {
	type name struct{ resource, namespace, name string }
	wanted := map[name]bool{}
	for _, id := range ids {
		if mapping, err := e.mapper.RESTMapping(id.GroupKind); err == nil {
			wanted[name{mapping.Resource.GroupResource().String(), id.Namespace, id.Name}] = true
		}
	}
	return slices.DeleteFunc(members, func(m Member) bool {
		return !wanted[name{m.Scope.Resource.GroupResource().String(), m.Key.Namespace, m.Key.Name}]
	})
}

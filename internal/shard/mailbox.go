package shard

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

const (
	lettersAnnotation = "gitseal.dev/letters"
	// maxLetters stay in the box; who has missed one that is gone is told that
	// anything may be new.
	maxLetters  = 32
	maxLetter   = 4096
	sendRetry   = 500 * time.Millisecond
	sendTimeout = 2 * time.Second
)

// Anything is the letter that stands for all that may have been missed.
const Anything = ""

// letter is a text that a replica leaves for all others.
type letter struct {
	Number int64  `json:"n"`
	From   string `json:"from"`
	Text   string `json:"text"`
}

// Mailbox is one Lease in which replicas leave word for one another. Nothing
// is written or read while there is nothing to say.
type Mailbox struct {
	ID      string // of this replica
	Name    string // of the Lease
	Client  coordinationclient.LeaseInterface
	Clock   clock.WithTicker
	Log     logr.Logger
	Deliver func(text string) // what the others say; it must not block

	once sync.Once
	kick chan struct{}

	mu      sync.Mutex
	pending []string
	box     types.UID
	read    int64 // the number up to which everything was delivered
}

func (b *Mailbox) init() { b.once.Do(func() { b.kick = make(chan struct{}, 1) }) }

// Send leaves a text for the others. It does not block; it is tried until it
// has succeeded.
func (b *Mailbox) Send(text string) {
	b.init()
	b.mu.Lock()
	switch {
	case slices.Contains(b.pending, text) || slices.Contains(b.pending, Anything):
	case len(b.pending) == maxLetters || len(text) > maxLetter:
		b.pending = []string{Anything}
	default:
		b.pending = append(b.pending, text)
	}
	b.mu.Unlock()
	select {
	case b.kick <- struct{}{}:
	default:
	}
}

// Run reads and sends until the context ends, and sends what is left then.
func (b *Mailbox) Run(ctx context.Context) error {
	b.init()
	go b.watch(ctx)
	for ctx.Err() == nil {
		var again <-chan time.Time
		if err := b.flush(ctx); err != nil {
			b.Log.Info("Word of a push could not be passed to the other replicas; it is tried again", "why", err.Error())
			again = b.Clock.After(sendRetry)
		}
		select {
		case <-ctx.Done():
		case <-b.kick:
		case <-again:
		}
	}
	return b.flush(context.WithoutCancel(ctx))
}

// flush adds what is pending to the box.
func (b *Mailbox) flush(ctx context.Context) error {
	b.mu.Lock()
	texts := b.pending
	b.pending = nil
	b.mu.Unlock()
	if len(texts) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err := b.add(ctx, texts)
	for apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		err = b.add(ctx, texts)
	}
	if err != nil {
		b.mu.Lock()
		b.pending = append(texts, b.pending...)
		if len(b.pending) > maxLetters {
			b.pending = []string{Anything}
		}
		b.mu.Unlock()
		return fmt.Errorf("write lease %q: %w", b.Name, err)
	}
	return nil
}

func (b *Mailbox) add(ctx context.Context, texts []string) error {
	box, err := b.Client.Get(ctx, b.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		box = &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: b.Name}}
		b.fill(box, texts)
		_, err = b.Client.Create(ctx, box, metav1.CreateOptions{})
		return err
	}
	if err != nil {
		return err
	}
	b.fill(box, texts)
	_, err = b.Client.Update(ctx, box, metav1.UpdateOptions{})
	return err
}

func (b *Mailbox) fill(box *coordinationv1.Lease, texts []string) {
	letters := lettersOf(box)
	var last int64
	if n := len(letters); n > 0 {
		last = letters[n-1].Number
	}
	for _, text := range texts {
		last++
		letters = append(letters, letter{Number: last, From: b.ID, Text: text})
	}
	letters = letters[max(len(letters)-maxLetters, 0):]
	if raw, err := json.Marshal(letters); err == nil {
		metav1.SetMetaDataAnnotation(&box.ObjectMeta, lettersAnnotation, string(raw))
	}
	box.Spec.RenewTime = &metav1.MicroTime{Time: b.Clock.Now()}
}

func lettersOf(box *coordinationv1.Lease) (letters []letter) {
	if json.Unmarshal([]byte(box.Annotations[lettersAnnotation]), &letters) != nil {
		return nil
	}
	return letters
}

// open delivers the letters of others that are new. What lay in the box when
// this replica came is not: it begins with a look at everything.
func (b *Mailbox) open(box *coordinationv1.Lease, first bool) {
	letters := lettersOf(box)
	b.mu.Lock()
	var last int64
	if n := len(letters); n > 0 {
		last = letters[n-1].Number
	}
	if !first && (b.box != box.UID || last < b.read) {
		b.read = 0 // somebody has put a new box up, or emptied it
	}
	read := b.read
	if last > read || first {
		b.read = last
	}
	b.box = box.UID
	b.mu.Unlock()
	if first {
		return
	}
	if len(letters) > 0 && letters[0].Number > read+1 {
		b.Deliver(Anything)
		return
	}
	for _, l := range letters {
		if l.Number > read && l.From != b.ID {
			b.Deliver(l.Text)
		}
	}
}

func (b *Mailbox) watch(ctx context.Context) {
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: b.listed(), ObjectType: &coordinationv1.Lease{},
		Handler: cache.ResourceEventHandlerDetailedFuncs{
			AddFunc: func(o any, initial bool) { b.tell(o, initial) },
			UpdateFunc: func(_, o any) {
				b.tell(o, false)
			},
		},
	})
	informer.RunWithContext(ctx)
}

func (b *Mailbox) tell(o any, first bool) {
	if box, ok := o.(*coordinationv1.Lease); ok {
		b.open(box, first)
	}
}

func (b *Mailbox) listed() cache.ListerWatcher {
	only := fields.OneTermEqualSelector("metadata.name", b.Name).String()
	return cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			o.FieldSelector = only
			return b.Client.List(ctx, o)
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.FieldSelector = only
			return b.Client.Watch(ctx, o)
		},
	}, b.Client)
}

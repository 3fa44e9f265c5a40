package shard

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"
)

// post is a mailbox, and what it delivered.
type post struct {
	*Mailbox
	mu  sync.Mutex
	got []string
}

func newPost(id string, client *fake.Clientset) *post {
	p := &post{}
	p.Mailbox = &Mailbox{
		ID: id, Name: "box", Client: client.CoordinationV1().Leases("ns"), Clock: clock.RealClock{}, Log: logr.Discard(),
		Deliver: func(text string) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.got = append(p.got, text)
		},
	}
	return p
}

func (p *post) wait(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for end := time.Now().Add(time.Minute); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		p.mu.Lock()
		got = append([]string(nil), p.got...)
		p.mu.Unlock()
		if cmp.Equal(got, want) {
			return
		}
	}
	t.Fatalf("%s got %q, want %q", p.ID, got, want)
}

func TestLettersReachTheOthersAlsoWhenTheServerRefusesAtFirst(t *testing.T) {
	client := fake.NewClientset()
	refusals := 3
	client.PrependReactor("create", "leases", func(clienttesting.Action) (bool, runtime.Object, error) {
		refusals--
		if refusals == 1 {
			return true, nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: "leases"}, "box")
		}
		return refusals > 0, nil, apierrors.NewInternalError(fmt.Errorf("no"))
	})
	a, b := newPost("a", client), newPost("b", client)
	send := func(from, to *post, text string) {
		t.Helper()
		from.Send(text)
		for tries := 0; from.flush(t.Context()) != nil; tries++ {
			if tries > 3 {
				t.Fatal("the letter is not sent")
			}
		}
		for _, p := range []*post{from, to} {
			box, err := client.CoordinationV1().Leases("ns").Get(t.Context(), "box", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p.open(box, false)
		}
	}
	send(a, b, "one")
	send(b, a, "two")
	send(a, b, "three")
	a.wait(t, "two")
	b.wait(t, "one", "three")
}

// box holds letters of somebody else, by number.
func box(uid types.UID, from, to int) *coordinationv1.Lease {
	var letters []string
	for n := from; n <= to; n++ {
		letters = append(letters, fmt.Sprintf(`{"n":%d,"from":"x","text":"%d"}`, n, n))
	}
	l := &coordinationv1.Lease{}
	l.UID, l.Annotations = uid, map[string]string{lettersAnnotation: "[" + strings.Join(letters, ",") + "]"}
	return l
}

func TestWhatWasMissedCountsAsAnything(t *testing.T) {
	p := newPost("a", fake.NewClientset())
	p.open(box("u", 1, 5), true) // was there before
	p.open(box("u", 1, 6), false)
	p.open(box("u", 1, 6), false)
	p.open(box("u", 9, 40), false) // 7 and 8 are gone
	p.open(box("u", 10, 41), false)
	p.wait(t, "6", Anything, "41")
}

func TestABoxThatWasPutUpAnewIsReadFromTheBeginning(t *testing.T) {
	p := newPost("a", fake.NewClientset())
	p.open(box("u", 1, 5), true)
	p.open(box("v", 1, 1), false)
	p.wait(t, "1")
}

func TestABoxThatWasEmptiedIsReadFromTheBeginning(t *testing.T) {
	broken := box("u", 1, 1)
	broken.Annotations[lettersAnnotation] = "{"
	tests := map[string][]*coordinationv1.Lease{
		"seen to be empty":   {box("u", 1, 0), box("u", 1, 6)},
		"seen to be broken":  {broken, box("u", 1, 6)},
		"not seen in time":   {box("u", 1, 1), box("u", 1, 6)},
		"cleared just again": {box("u", 1, 0), box("u", 1, 2), box("u", 1, 6)},
	}
	for name, boxes := range tests {
		t.Run(name, func(t *testing.T) {
			p := newPost("a", fake.NewClientset())
			p.open(box("u", 1, 5), true)
			for _, b := range boxes {
				p.open(b, false)
			}
			p.wait(t, "1", "2", "3", "4", "5", "6")
		})
	}
}

func TestManyLettersAtOnceAreOne(t *testing.T) {
	p := newPost("a", fake.NewClientset())
	for i := range maxLetters + 1 {
		p.Send(fmt.Sprint(i))
		p.Send(fmt.Sprint(i))
	}
	if diff := cmp.Diff([]string{Anything}, p.pending); diff != "" {
		t.Errorf("pending (-want +got):\n%s", diff)
	}
}

func TestABoxIsWatched(t *testing.T) {
	client := fake.NewClientset()
	a, b := newPost("a", client), newPost("b", client)
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for _, p := range []*post{a, b} {
		p.Client = unstreamed{p.Client}
		running.Go(func() { _ = p.Run(ctx) })
	}
	await(t, "both watch", func() bool { // what happens before, the fake server never tells them
		watches := slices.DeleteFunc(client.Actions(), func(a clienttesting.Action) bool { return a.GetVerb() != "watch" })
		return len(watches) == 2
	})
	a.Send("one")
	await(t, "both have looked into it", func() bool {
		for _, p := range []*post{a, b} {
			p.Mailbox.mu.Lock()
			n := p.read
			p.Mailbox.mu.Unlock()
			if n == 0 {
				return false
			}
		}
		return true
	})
	b.Send("two")
	a.wait(t, "two")
	stop()
	running.Wait()
}

package controllers

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/shard"
	"github.com/gitseal/gitseal/internal/source"
	"github.com/gitseal/gitseal/internal/webhook"
)

const (
	// pollPause is the least time between two looks at a repository that
	// deliveries bring about.
	pollPause = time.Second
	// maxRefs that are told apart while a repository rests; more mean any.
	maxRefs = 32
	anyRef  = ""
)

// polls turns deliveries into looks at Git: at once, then at most one per
// repository and pause. What comes within a pause is folded into one look at
// its end, so that the last one always counts.
type polls struct {
	// followers gives the Applications of a repository, by its key.
	followers func(key string) []v1alpha1.Application
	signals   *Signals
	clock     clock.Clock
	// pass tells the other replicas; nil where there are none.
	pass func(word)

	mu      sync.Mutex
	resting map[string]map[string]bool // refs to look at after the pause, by repository
}

func newPolls(followers func(key string) []v1alpha1.Application, signals *Signals, clk clock.Clock) *polls {
	return &polls{followers: followers, signals: signals, clock: clk, resting: map[string]map[string]bool{}}
}

// Poll tells the Applications that follow a repository.
func (p *polls) Poll(push webhook.Push) {
	var keys []string
	for _, u := range push.URLs {
		if key := source.RepositoryKey(u); key != "" && !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		// Who nobody follows takes no memory.
		if len(p.followers(key)) > 0 && p.mayLook(key, push.Ref) {
			p.lookAndPass(key, map[string]bool{push.Ref: true})
		}
	}
}

// mayLook begins a pause, or notes the ref for the end of the one that is on.
func (p *polls) mayLook(key, ref string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	refs, rests := p.resting[key]
	switch {
	case !rests:
		p.rest(key)
		return true
	case len(refs) < maxRefs:
		refs[ref] = true
	default:
		refs[anyRef] = true
	}
	return false
}

// rest begins a pause. p.mu is held.
func (p *polls) rest(key string) {
	p.resting[key] = map[string]bool{}
	timer := p.clock.NewTimer(pollPause)
	go func() {
		<-timer.C()
		p.rested(key)
	}()
}

// rested ends a pause, and begins another where there was something to do.
func (p *polls) rested(key string) {
	p.mu.Lock()
	refs := p.resting[key]
	delete(p.resting, key)
	if len(refs) > 0 {
		p.rest(key)
	}
	p.mu.Unlock()
	if len(refs) > 0 {
		p.lookAndPass(key, refs)
	}
}

// lookAndPass is for what came to this replica. It may not be the one that
// works on the Application.
func (p *polls) lookAndPass(key string, refs map[string]bool) {
	p.look(key, refs)
	if p.pass != nil {
		p.pass(word{Repository: key, Refs: slices.Sorted(maps.Keys(refs))})
	}
}

// word is what replicas tell one another of a push.
type word struct {
	Repository string   `json:"repository"`
	Refs       []string `json:"refs"`
}

func (w word) String() string {
	raw, err := json.Marshal(w)
	if err != nil {
		return shard.Anything
	}
	return string(raw)
}

// hear does what another replica says. What cannot be understood, and what was
// missed, means that anything may be new.
func (p *polls) hear(text string, everybody func() []v1alpha1.Application) {
	var w word
	if text == shard.Anything || json.Unmarshal([]byte(text), &w) != nil {
		now := p.clock.Now()
		all := everybody()
		for i := range all {
			p.signals.Poll(client.ObjectKeyFromObject(&all[i]), now)
		}
		return
	}
	refs := map[string]bool{}
	for _, ref := range w.Refs {
		refs[ref] = true
	}
	p.look(w.Repository, refs)
}

func (p *polls) look(key string, refs map[string]bool) {
	now := p.clock.Now()
	following := p.followers(key)
	for i := range following {
		if follows(following[i].Spec.Source.Git.Ref, refs) {
			p.signals.Poll(client.ObjectKeyFromObject(&following[i]), now)
		}
	}
}

// follows reports whether a ref that moved can matter to who follows another.
func follows(followed v1alpha1.GitRef, moved map[string]bool) bool {
	switch {
	case moved[anyRef]:
		return true
	case followed.Commit != "":
		return false
	case followed.SemVer != "":
		for ref := range moved {
			if strings.HasPrefix(ref, "refs/tags/") {
				return true
			}
		}
		return false
	case followed.Tag != "":
		return moved["refs/tags/"+followed.Tag] || moved[followed.Tag]
	case followed.Branch != "":
		return moved["refs/heads/"+followed.Branch] || moved[followed.Branch]
	}
	return moved["refs/heads/main"] || moved["main"]
}

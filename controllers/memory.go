package controllers

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/internal/apply"
	"github.com/gitseal/gitseal/internal/live"
	"github.com/gitseal/gitseal/internal/secret"
	"github.com/gitseal/gitseal/internal/source"
)

// memory is what the operator knows of an Application between two reconciles.
// It is rebuilt from Git and the cluster after a restart; nothing depends on
// its being there.
type memory struct {
	// uid tells an Application from an earlier one of the same name.
	uid    types.UID
	ledger *apply.Ledger

	// snapshot is the last one fetched, for generation polledSpec; the server
	// was asked at polledAt. It last failed to answer before missedAt.
	snapshot   *source.Snapshot
	polledAt   time.Time
	polledSpec int64
	missedAt   time.Time
	fetching   *fetching

	credentials heldCredentials
	signers     heldSigners
	verified    verified
	followed    followed
	// rewritten is the last revision of which it was told that it rewrites.
	rewritten string

	// wanted is the last good desired state. refusal says why the newest
	// inputs did not make one. draft is one that lacks its values yet.
	wanted *wanted
	draft  *wanted
	// placed is the last one of which everything was applied.
	placed  *wanted
	refused basis
	refusal error

	// refresh is the last request to read values again.
	refresh refresh

	// rest is when nothing was left to do.
	rest repose

	// scopes are the member watches that are open.
	scopes []live.Scope

	// conflicts are the objects that other Applications own, once it was looked.
	conflicts []apply.Conflict
	looked    bool
	// barred is why a desired state may not take what is there, since barredAt.
	barred    error
	barredFor *wanted
	barredAt  time.Time

	drifted int32
	// unsent is why the last objects that were sent were refused.
	unsent error

	// progressSince is when what is waited for was applied. Health was read
	// last at judgedAt, and is again after judgePause at the latest.
	progressSince time.Time
	judgedAt      time.Time
	judgePause    time.Duration

	// conflictPause is how long was waited after the last conflict in a row.
	conflictPause time.Duration

	// status is the last one written, at a resource version that the cache may
	// not have reached yet.
	status        *v1alpha1.ApplicationStatus
	statusVersion uint64
	statusAt      time.Time
}

type heldCredentials struct {
	scope   live.Scope
	version uint64
	value   *source.Credentials
}

// inputs are all that the desired state depends on.
type inputs struct {
	generation int64
	commit     string
	keys       string
}

// basis is what something was made of: of the commit only what was read. Its
// inputs are the last that made the same.
type basis struct {
	inputs inputs
	reads  *source.ReadSet
}

// wanted is a desired state: what one revision says under one spec. It keeps
// no Snapshot, which would keep a whole generation of packs.
type wanted struct {
	inputs          inputs // it was made of
	basis           basis
	author, subject string
	signer          string
	items           []apply.Item
	values          *secret.Set
	// runs is what was seen last of run-once objects.
	runs   map[apply.ID]apply.Run
	files  int
	opened int
	// material is what Secrets are made of under policy External; else nil.
	material *material
	// why it is what it is, as history records it, until it is in place.
	why string
	// first: it was made without an earlier one in memory.
	first bool
	// carried: after a restart nothing that is there was of another content. The
	// commit may be new and yet touch nothing here, so that what differs has
	// drifted; what is missing may be new.
	carried bool
	// settled: all of it was in place once, but for values that changed since.
	settled bool
	// announced: it was told that it is being applied.
	announced bool
	// changed counts the objects that gated runs changed.
	changed int
}

// memories holds one memory per Application. The zero value is ready.
type memories struct {
	mu  sync.Mutex
	all map[types.NamespacedName]*memory
}

func (m *memories) of(name types.NamespacedName, uid types.UID) *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[types.NamespacedName]*memory{}
	}
	if held := m.all[name]; held == nil || held.uid != uid {
		m.all[name] = &memory{uid: uid, ledger: apply.NewLedger()}
		applicationsOwned.Set(float64(len(m.all)))
	}
	return m.all[name]
}

func (m *memories) drop(name types.NamespacedName) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if held := m.all[name]; held != nil {
		held.draft.abandon()
		held.wanted.abandon()
	}
	delete(m.all, name)
	applicationsOwned.Set(float64(len(m.all)))
}

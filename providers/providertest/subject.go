// Package providertest is the conformance suite that every backend of
// providers passes, against a server as real as can be had. It holds a backend
// to the contract that internal/fetch and everything above it rely on: which
// error means what, one login for many calls, no retries of its own, and no
// word of a value or a credential in any error. It must know no backend.
package providertest

import (
	"testing"
	"time"

	"github.com/gitseal/gitseal/providers"
)

// Feature is something that a provider may be unable to do at all.
type Feature string

// Features. What is said of a lack is what the suite demands in its place.
const (
	// Versions: Result.Version tells one content from the next. Lacking: it is
	// empty.
	Versions Feature = "versions"
	// Pinning: Ref.Version reads an older version; without Versions, one that was
	// kept under a name. Lacking: such a Ref is ErrInvalid, or reads the newest.
	Pinning Feature = "pinning"
	// Metadata: Ref.Metadata reads what Server.Tag set. Lacking: ErrInvalid.
	Metadata Feature = "metadata"
	// Binary: contents that are no text.
	Binary Feature = "binary"
	// Denial: single keys can be denied.
	Denial Feature = "denial"
	// Credentials: there is something to be wrong.
	Credentials Feature = "credentials"
	// Sessions: a login gives a token or session that serves many calls and can
	// be taken away. Lacking: no login is ever counted.
	Sessions Feature = "sessions"
	// Throttling: the server can ask to slow down.
	Throttling Feature = "throttling"
	// RetryAfter: and say for how long.
	RetryAfter Feature = "retry-after"
	// Outages: the server can be away.
	Outages Feature = "outages"
	// Network: the server is reached over one, and can leave a call hanging.
	Network Feature = "network"
	// FindByName, FindByPath and FindByTags: fields of providers.Query.
	// Lacking: ErrInvalid. Lacking all: the Provider is no Finder.
	FindByName Feature = "find by name"
	// FindByPath: see FindByName.
	FindByPath Feature = "find by path"
	// FindByTags: see FindByName.
	FindByTags Feature = "find by tags"
	// Check: the Provider is a Checker. Lacking: it is none.
	Check Feature = "check"
)

// Subject is a backend and what stands behind it.
type Subject struct {
	// Backend to test.
	Backend providers.Backend
	// New gives a server for one test. Tests may share one server, if the
	// controls that were used are undone by t.Cleanup: each test has keys of its
	// own, with letters, digits and dashes.
	New func(t *testing.T) *Server
	// Without names what the provider cannot do, each with the reason. All else
	// is tested, and needs its controls.
	Without map[Feature]string
	// OddKeys are the strangest keys that the provider can hold.
	OddKeys []string
	// BadKeys can never be keys: asking for them is ErrInvalid. The suite adds
	// the empty one.
	BadKeys []string
	// Nest makes the key of a name in a folder, which is one path segment.
	// Default: folder/name.
	Nest func(folder, name string) string
}

// Server controls the server behind a backend. Its functions fail the test by
// themselves.
type Server struct {
	// Store is one that is let in. Dial, Clock and LoggedIn are filled in by the
	// suite where they are nil.
	Store providers.Store
	// Wrong is Store with wrong credentials (Credentials).
	Wrong *providers.Store
	// Put makes content the newest of a key and returns its version, if it has
	// one. For the dialect Document the content stands in the property "content"
	// of the value, for Entries in the entry "content".
	Put func(key string, content []byte) (version string)
	// Keep stores content beside the newest, to be read by its version alone
	// (Pinning without Versions).
	Keep func(key string, content []byte) (version string)
	// Tag gives a key tags or labels (Metadata, FindByTags).
	Tag func(key string, tags map[string]string)
	// Deny lets nobody read a key (Denial).
	Deny func(key string)
	// Throttle refuses reads, naming a time to wait if that is above 0
	// (Throttling).
	Throttle func(retryAfter time.Duration)
	// Outage takes the server away, or makes it answer as one that is down
	// (Outages).
	Outage func()
	// Hang makes the server take reads and not answer them (Network).
	Hang func()
	// Recover ends Throttle, Outage and Hang.
	Recover func()
	// Revoke ends all sessions that were given out (Sessions).
	Revoke func()
	// Logins counts sessions given out, as the server saw it (Sessions).
	Logins func() int
	// Requests counts requests to read values, refused ones too, as the server
	// saw it; those of a login do not count (Network).
	Requests func() int
	// Confidential is what no error may hold besides values: credentials, and
	// texts that the server puts into its own errors.
	Confidential []string
}

// lacking names the controls that a feature needs and that are not there.
func (s *Server) lacking(subject Subject, f Feature) []string {
	controls := map[Feature]map[string]bool{
		Pinning:     {"Keep": s.Keep != nil || subject.has(Versions)},
		Metadata:    {"Tag": s.Tag != nil},
		FindByTags:  {"Tag": s.Tag != nil},
		Denial:      {"Deny": s.Deny != nil},
		Credentials: {"Wrong": s.Wrong != nil},
		Sessions:    {"Revoke": s.Revoke != nil, "Logins": s.Logins != nil},
		Throttling:  {"Throttle": s.Throttle != nil, "Recover": s.Recover != nil},
		Outages:     {"Outage": s.Outage != nil, "Recover": s.Recover != nil},
		Network:     {"Hang": s.Hang != nil, "Recover": s.Recover != nil, "Requests": s.Requests != nil},
	}
	var names []string
	for name, ok := range controls[f] {
		if !ok {
			names = append(names, name)
		}
	}
	return names
}

package gcp

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"

	"github.com/gitseal/gitseal/api/v1alpha1"
	"github.com/gitseal/gitseal/providers"
)

// login is one way to a token.
type login struct {
	// project that the credentials name; "" is none.
	project string
	token   func(context.Context) (token, error)
	// identity as it is known so far.
	identity atomic.Pointer[string]
}

func (l *login) who() string { return *l.identity.Load() }

func (l *login) is(identity string) { l.identity.Store(&identity) }

// tokens are the services that give tokens.
type tokens struct {
	http        *http.Client
	credentials providers.Credentials
	clock       clock.PassiveClock
	loggedIn    func()
	// base replaces scheme and host of all of Google's; "" does not.
	base string
}

// newLogin chooses by what the spec names.
func newLogin(s providers.Store) (*login, error) {
	spec := s.Spec.GCPSM
	t := &tokens{http: newHTTP(s.Dial), credentials: s.Credentials, clock: s.Clock, loggedIn: s.LoggedIn, base: strings.TrimSuffix(spec.STSEndpoint, "/")}
	if u, err := url.Parse(t.base); err != nil || t.base != "" && (u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https") {
		return nil, providers.Invalidf("gcpsm.stsEndpoint is no http or https URL")
	}
	l := &login{}
	l.is("a token that was not asked for yet")
	var err error
	switch auth := spec.Auth; {
	case several(auth.SecretRef != nil, auth.WorkloadIdentity != nil, auth.WorkloadIdentityFederation != nil):
		err = providers.Invalidf("gcpsm.auth takes one of secretRef, workloadIdentity and workloadIdentityFederation")
	case auth.SecretRef != nil:
		err = t.byKey(l, auth.SecretRef.SecretAccessKey)
	case auth.WorkloadIdentity != nil:
		err = t.byCluster(l, spec, *auth.WorkloadIdentity)
	case auth.WorkloadIdentityFederation != nil:
		err = t.byFederation(l, *auth.WorkloadIdentityFederation)
	case s.Ambient:
		err = t.byAmbient(l)
	default:
		err = providers.Invalidf("gcpsm.auth is needed: the operator's own identity is for a ClusterSecretStore only")
	}
	return l, err
}

func several(set ...bool) bool {
	n := 0
	for _, s := range set {
		if s {
			n++
		}
	}
	return n > 1
}

// newHTTP makes the client of the token services: it dials as it is told, goes
// where it is sent and nowhere else, and keeps no connection for the next hour.
func newHTTP(dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			DialContext: dial, DisableKeepAlives: true, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       30 * time.Second,
	}
}

// byKey signs with a service account's key (RFC 7523).
func (t *tokens) byKey(l *login, selector v1alpha1.SecretKeySelector) error {
	value, err := t.credentials.Secret(selector)
	if err != nil {
		return err
	}
	return t.withKey(l, value.Reveal(), "the key of gcpsm.auth.secretRef")
}

// byCluster exchanges a ServiceAccount's token as GKE does
// (cloud.google.com/kubernetes-engine/docs/concepts/workload-identity), without
// the metadata server: the spec says which cluster this is.
func (t *tokens) byCluster(l *login, spec *v1alpha1.GCPSMProvider, wi v1alpha1.GCPWorkloadIdentity) error {
	id := wi.ClusterProjectID
	if id == "" {
		id = spec.ProjectID
	}
	if id == "" || wi.ClusterLocation == "" || wi.ClusterName == "" {
		return providers.Invalidf("gcpsm.auth.workloadIdentity needs clusterLocation, clusterName and clusterProjectID (or projectID): gitseal does not ask the metadata server for them")
	}
	if !project.MatchString(id) || !location.MatchString(wi.ClusterLocation) || !location.MatchString(wi.ClusterName) {
		return providers.Invalidf("gcpsm.auth.workloadIdentity names no GKE cluster")
	}
	pool := id + ".svc.id.goog"
	cluster := "https://container.googleapis.com/v1/projects/" + id + "/locations/" + wi.ClusterLocation + "/clusters/" + wi.ClusterName
	e := exchange{audience: "identitynamespace:" + pool + ":" + cluster, kind: typeJWT, subject: t.serviceAccount(wi.ServiceAccountRef, pool)}
	l.project = id
	l.is("ServiceAccount " + wi.ServiceAccountRef.Name + " in " + pool)
	l.token = func(ctx context.Context) (token, error) {
		annotations, err := t.credentials.Annotations(ctx, wi.ServiceAccountRef)
		if err != nil {
			return token{}, err
		}
		e := e
		if email := annotations["iam.gke.io/gcp-service-account"]; email != "" {
			if e.impersonate, err = impersonationOf(email); err != nil {
				return token{}, err
			}
			l.is(email)
		}
		return t.exchange(ctx, e)
	}
	return nil
}

// serviceAccount asks for a ServiceAccount's token, for audiences and for those
// of the spec.
func (t *tokens) serviceAccount(ref v1alpha1.ServiceAccountSelector, audiences ...string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		made, err := t.credentials.Token(ctx, ref, audiences, 15*time.Minute)
		if err != nil {
			return "", err
		}
		return string(made.Value.Reveal()), nil
	}
}

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gitseal/gitseal/test/bench/result"
)

// What is kept, and how often it is referred to.
const (
	referenced = 1000 // ExternalSecrets of an Application, a reference each
	keptKeys   = 250  // at the provider
	properties = 4    // of each
)

// storeName is the SecretStore of every namespace, and storeCredential the
// Secret with what it logs in with.
const (
	storeName       = "bench"
	storeCredential = "bench-store"
)

// keptName is the key that the ith ExternalSecret refers to, keptProperty the
// property and keptValue the value.
func keptName(i int) string     { return fmt.Sprintf("bench/key-%03d", i%keptKeys) }
func keptProperty(i int) string { return fmt.Sprintf("p%d", i/keptKeys%properties) }
func keptValue(i int) string    { return fmt.Sprintf("value-of-%d-%s", i%keptKeys, keptProperty(i)) }

// keptContent is the whole value of a key.
func keptContent(key int) map[string]any {
	content := map[string]any{}
	for p := range properties {
		i := p*keptKeys + key
		content[keptProperty(i)] = keptValue(i)
	}
	return content
}

func (w workload) externalManifest(name string, app, i int) string {
	if w.keeper == sharedVaultName {
		return sharedManifest(name, app)
	}
	return fmt.Sprintf(`apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: %s
spec:
  refreshInterval: 1h
  secretStoreRef:
    name: %s
    kind: SecretStore
  data:
    - secretKey: value
      remoteRef:
        key: %s
        property: %s
`, name, storeName, keptName(i), keptProperty(i))
}

// plainDir holds as many ConfigMaps of the same size, for an Application
// without secrets.
const plainDir = "plain"

func plainFiles() map[string]string {
	files := map[string]string{}
	for i := range referenced {
		name := fmt.Sprintf("plain-%04d", i)
		files[plainDir+"/"+name+".yaml"] = fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: %s\ndata:\n  value: %s\n", name, keptValue(i))
	}
	return files
}

// credentials are the Secrets that a namespace lets the operator read.
func (s *stage) credentials() []string {
	if s.keeper == nil {
		return nil
	}
	return []string{storeCredential}
}

// kept lists the scenarios of a workload whose values a provider owns.
func kept(w workload) []scenario {
	if w.keeper == sharedVaultName {
		return outages(w)
	}
	first := scenario{kind: "first-sync", workload: w, most: 5, play: firstResolved,
		what: "nothing is there and nothing was read; the Application is created, and is Ready"}
	second := scenario{kind: "second-sync", workload: w, most: 5, play: secondResolved,
		what: "a commit adds a label to one ExternalSecret, and no value is due; from the end of the push until it is applied",
		targets: []result.Target{
			worst("value reads of a second sync", "valueReads", 0), worst("logins of a second sync", "logins", 0),
			worst("applies for a commit that changes one Secret, its dry run among them", "applies", 2),
		}}
	reads := 250.0
	if w.keeper == "aws" {
		reads = 13 // batches of 20
	}
	first.targets = []result.Target{
		worst("calls that read values", "valueReads", reads), worst("logins", "logins", 1),
		median("wall time, times the same apply without secrets and the bare reads", "timesPlainAndReads", 1.5),
		worst("API calls", "ownCalls", 1100),
	}
	return []scenario{first, second}
}

// firstResolved measures, on a controller started anew each time, the same
// apply without secrets, the bare reads, and both in one: policy External.
func firstResolved(ctx context.Context, s *stage, _ scenario, _ bool) (result.Round, error) {
	m := map[string]float64{}
	if err := s.plain(ctx, m); err != nil {
		return result.Round{}, err
	}
	bare, err := s.keeper.bare(ctx)
	if err != nil {
		return result.Round{}, err
	}
	m["bareReadSeconds"] = bare.Seconds()
	if err := s.retire(ctx); err != nil {
		return result.Round{}, err
	}
	if err := s.prepare(ctx); err != nil {
		return result.Round{}, err
	}
	s.keeper.forget()
	if err := s.start(ctx); err != nil {
		return result.Round{}, err
	}
	// Whether the store is Ready is checked first: the login is the check's.
	before, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	if err := s.firstSync(ctx, m); err != nil {
		return result.Round{}, err
	}
	after, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	made := s.keeper.calls()
	m["logins"], m["valueReads"] = float64(made.logins), float64(made.reads)
	m["timesPlainAndReads"] = m["appliedSeconds"] / (m["plainSeconds"] + m["bareReadSeconds"])
	m["rssGrowthMiB"] = after.own.rss - before.own.rss
	m["rssGrowthOverPlainMiB"] = m["rssGrowthMiB"] - m["plainRSSGrowthMiB"]
	return s.round(before, after, m), nil
}

// plain measures an Application of as many objects without secrets.
func (s *stage) plain(ctx context.Context, m map[string]float64) error {
	if err := s.retire(ctx); err != nil {
		return err
	}
	if err := s.prepare(ctx); err != nil {
		return err
	}
	for i := range s.apps {
		s.apps[i].Path, s.apps[i].Secrets = plainDir, "{policy: None}"
	}
	if err := s.start(ctx); err != nil {
		return err
	}
	before, err := s.settled(ctx)
	if err != nil {
		return err
	}
	plain := map[string]float64{}
	if err := s.firstSync(ctx, plain); err != nil {
		return err
	}
	after, err := s.settled(ctx)
	if err != nil {
		return err
	}
	m["plainSeconds"], m["plainRSSGrowthMiB"] = plain["appliedSeconds"], after.own.rss-before.own.rss
	return nil
}

// secondResolved pushes a commit that changes one ExternalSecret and no value.
func secondResolved(ctx context.Context, s *stage, _ scenario, _ bool) (result.Round, error) {
	if err := s.inPlace(ctx); err != nil {
		return result.Round{}, err
	}
	before, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	s.keeper.forget()
	o := s.pick(externalSecret, time.Now().Nanosecond())
	labelled := strings.Replace(o.inGit(), "metadata:\n", "metadata:\n  labels: {pushed-at: \""+now()+"\"}\n", 1)
	if err := s.push(ctx, map[string]string{o.file(): labelled}); err != nil {
		return result.Round{}, err
	}
	pushed := time.Now()
	if err := s.trigger(ctx, o.app); err != nil {
		return result.Round{}, err
	}
	applied := newGoal("applied", s.controller.Applied, s.apps)
	if err := s.await(ctx, applied); err != nil {
		return result.Round{}, err
	}
	m := map[string]float64{"appliedSeconds": applied.reached.Sub(pushed).Seconds()}
	after, err := s.settled(ctx)
	if err != nil {
		return result.Round{}, err
	}
	made := s.keeper.calls()
	m["logins"], m["valueReads"] = float64(made.logins), float64(made.reads)
	return s.round(before, after, m), nil
}

// Package providers will own the contract with the systems that own secret
// values (AWS Secrets Manager, GCP Secret Manager, Vault, Kubernetes, files):
// references in, values and versions out. It comes with the policy External;
// the policies SOPS and None need no provider, and nothing is here yet. It
// must never name a backend: each is a package of its own below this one.
package providers

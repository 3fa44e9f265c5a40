#!/usr/bin/env bash
# Runs every test. The sandboxes that the tests start are theirs to stop; the
# one that this script starts, for the tests of the CLI, is stopped here.
set -euo pipefail
cd "$(dirname "$0")/.."
for program in git ssh-keygen gpg; do
  command -v "$program" >/dev/null || { echo "error: the tests need $program; on Debian: apt-get install git openssh-client gnupg" >&2; exit 1; }
done

# What the caller has set for other clusters, repositories and clouds, and for
# whoever reads messages, is not for the tests. Proxies are, for what is built.
unset KUBECONFIG $(git rev-parse --local-env-vars) "${!GIT_AUTHOR_@}" "${!GIT_COMMITTER_@}" "${!AWS_@}" "${!GOOGLE_@}" "${!SOPS_@}" "${!VAULT_@}"
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_SYSTEM=/dev/null LC_ALL=C
export no_proxy=127.0.0.1,localhost,invalid,${no_proxy:-${NO_PROXY:-}}
export NO_PROXY=$no_proxy
export CGO_ENABLED=0 # as the programs are built, so that nothing is compiled twice
tmp=${TMPDIR:-}
((${#tmp} <= 40)) || export TMPDIR=/tmp # the path of a socket has 107 characters at most

dir=$(mktemp -d)
cleanup() {
  bin/sandbox down --dir "$dir" >/dev/null || true
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM
export KUBECACHEDIR=$dir/kubecache # what is remembered of an API server goes with it

kubectl() { bin/control-plane/kubectl --kubeconfig "$dir/kubeconfig" "$@"; }

bin/sandbox up --dir "$dir" --assets bin/control-plane --detach
kubectl apply --server-side -k config/default >/dev/null
# `kubectl wait` gives up on a definition that has no conditions yet.
tries=0
until kubectl get applications,secretstores,clustersecretstores >/dev/null 2>&1; do
  ((++tries < 600)) || { echo "error: the API server does not serve the kinds of config/default" >&2; exit 1; }
  sleep 0.2
done
export GITSEAL_TEST_KUBECONFIG="$dir/kubeconfig"

echo "== unit, CRD validation and CLI"
go test -count=1 -timeout 1h ./api/... ./cmd/... ./controllers/... ./internal/... ./kubectl-plugin/... ./providers/...
echo "== sandbox"
(cd test/sandbox && go test -count=1 -timeout 1h ./...)
echo "== end to end"
go test -count=1 -timeout 3h ./test/...

#!/usr/bin/env bash
# Runs every test. The sandboxes that the tests start are theirs to stop; the
# one that this script starts, for the tests of the CLI, is stopped here.
set -euo pipefail
cd "$(dirname "$0")/.."
unset KUBECONFIG
for program in git ssh-keygen gpg; do
  command -v "$program" >/dev/null || { echo "error: the tests need $program; on Debian: apt-get install git openssh-client gnupg" >&2; exit 1; }
done
export CGO_ENABLED=0 # as the programs are built, so that nothing is compiled twice

dir=$(mktemp -d)
cleanup() {
  bin/sandbox down --dir "$dir" >/dev/null || true
  rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

bin/sandbox up --dir "$dir" --assets bin/control-plane --detach
bin/control-plane/kubectl --kubeconfig "$dir/kubeconfig" apply --server-side -k config/default >/dev/null
bin/control-plane/kubectl --kubeconfig "$dir/kubeconfig" wait --for=condition=Established --timeout=60s crd/applications.gitseal.dev crd/secretstores.gitseal.dev crd/clustersecretstores.gitseal.dev >/dev/null
export GITSEAL_TEST_KUBECONFIG="$dir/kubeconfig"

echo "== unit, CRD validation and CLI"
go test -count=1 -timeout 15m ./api/... ./cmd/... ./controllers/... ./internal/... ./kubectl-plugin/... ./providers/...
echo "== sandbox"
(cd test/sandbox && go test -count=1 -timeout 10m ./...)
echo "== end to end"
go test -count=1 -timeout 40m ./test/...

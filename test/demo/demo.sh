#!/usr/bin/env bash
# Shows gitseal's main job on a real control plane: a commit with encrypted
# secrets becomes running objects. Called by `make demo`. It needs no cluster,
# touches none, and leaves nothing behind; DEMO_KEEP=1 leaves it running.
set -Eeuo pipefail
export LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=test/demo/lib.sh
source "$root/test/demo/lib.sh"

step_count=9
begin gitseal-controller kubectl-gitseal sandbox control-plane/kubectl control-plane/kube-apiserver

# The secret: made here, known to nobody, never printed, never in a file that
# is not encrypted.
value=demo-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')

secret_is_right() { [[ $(get secret/db '{.data.password}' | base64 -d) == "$value" ]]; }

make_key() {
  step "Make a key that only namespace shop may use"
  run kubectl gitseal keys init --for shop
  expect "where key sops-age may be used" \
    "$(kubectl get secret sops-age -n gitseal-system -o jsonpath='{.metadata.annotations.gitseal\.dev/allowed-namespaces}')" shop
  done_step
}

make_repository() {
  step "Make a repository: Deployment, Service, ConfigMap, and a Secret that is encrypted before it is written"
  start_repository
  run kubectl gitseal init web -n shop --path deploy
  echo '    $ kubectl create secret generic db --from-file=password=/dev/stdin ... | kubectl gitseal encrypt --filename-override deploy/db.yaml - > deploy/db.yaml'
  printf %s "$value" | kubectl create secret generic db --from-file=password=/dev/stdin --dry-run=client -o yaml |
    kubectl gitseal encrypt --filename-override deploy/db.yaml - >deploy/db.yaml
  expect "the number of encrypted values in deploy/db.yaml" "$(grep -c 'password: ENC\[AES256_GCM,' deploy/db.yaml)" 1
  done_step
}

first_sync() {
  step "Push, apply the Application that init wrote, and wait"
  commit "Add the shop"
  run kubectl create namespace shop
  run kubectl apply -f gitseal/web.yaml
  run kubectl gitseal sync web -n shop --wait
  expect "the revision applied" "$(get application/web '{.status.source.revision}')" "main@sha1:$(git rev-parse HEAD)"
  expect "the number of ready pods of Deployment web" "$(get deployment/web '{.status.readyReplicas}')" 1
  expect "the port of Service web" "$(get service/web '{.spec.ports[0].port}')" 80
  expect "the greeting in ConfigMap web" "$(get configmap/web '{.data.greeting}')" first
  done_step
}

show_secret() {
  step "Compare the Secret with what was encrypted, and search all of Git for it"
  secret_is_right || fail "Secret db does not hold the value that was encrypted"
  ok "Secret db in the cluster holds the right value"
  expect "how often the server's repository holds \"first\", to see that the search works" "$(in_git first)" 1
  expect "how often it holds the secret" "$(in_git "$value")" 0
  expect "how often it holds the secret in base64" "$(in_git "$(printf %s "$value" | base64 -w0)")" 0
  done_step
}

show_drift() {
  step "Delete the Deployment by hand"
  local before begun events=$dir/events
  before=$(get deployment/web '{.metadata.uid}')
  kubectl get deployment web -n shop --watch --output-watch-events -o jsonpath='{.type} {.object.metadata.uid}{"\n"}' > >(stamp_lines >"$events") &
  watcher_pid=$!
  until_true "the watch sees the Deployment" grep -q "$before" "$events"
  begun=$(now_ms)
  run kubectl delete deployment web -n shop
  until_true "the Deployment is back" back_since "$events"
  # A watch sees it go and come; the command takes longer than the correction.
  ok "Deployment web was put back $(($(stamp "$events" ADDED) - $(stamp "$events" DELETED))) ms after it was gone, $(($(stamp "$events" ADDED) - begun)) ms after the command began"
  kill "$watcher_pid"
  watcher_pid=
  kubectl wait --for=condition=Available --timeout=3m deployment/web -n shop >/dev/null
  until_true "the pod of the Deployment that was deleted is gone" one_pod
  [[ $(get deployment/web '{.metadata.uid}') != "$before" ]] || fail "it is the same Deployment: it was never deleted"
  expect "the number of its ready pods" "$(get deployment/web '{.status.readyReplicas}')" 1
  done_step
}

one_pod() { [[ $(get pods '{.items[*].metadata.uid}') != *" "* ]]; }

stamp_lines() {
  local line
  while read -r line; do echo "$(now_ms) $line"; done
}

# stamp is when the watch saw an event last.
stamp() { awk -v event="$2" '$2 == event { t = $1 } END { print t }' "$1"; }

back_since() { awk '$2 == "DELETED" { gone = 1 } gone && $2 == "ADDED" { back = 1 } END { exit !back }' "$1"; }

show_change() {
  step "Push a change"
  local begun
  sed -i 's/greeting: first/greeting: second/' deploy/configmap.yaml
  begun=$(now_ms)
  commit "Greet again"
  run kubectl gitseal sync web -n shop --wait
  expect "the greeting in ConfigMap web" "$(get configmap/web '{.data.greeting}')" second
  ok "the change was in the cluster $(($(now_ms) - begun)) ms after git commit (without sync it waits for the next poll, every minute)"
  done_step
}

show_refusal() {
  step "Push a plaintext Secret by mistake, with another change in the same commit"
  local pod good message
  pod=$(get pods '{.items[*].metadata.uid}')
  good=$(git rev-parse HEAD)
  sed -i 's/greeting: second/greeting: third/' deploy/configmap.yaml
  printf '%s\n' 'apiVersion: v1' 'kind: Secret' 'metadata:' '  name: mistake' 'stringData:' '  token: in-plain-sight' >deploy/mistake.yaml
  commit "Add a token"
  if run kubectl gitseal sync web -n shop --wait; then fail "the sync succeeded"; fi
  message=$(get application/web '{.status.conditions[?(@.type=="Ready")].message}')
  expect "the reason that Ready gives" "$(get application/web '{.status.conditions[?(@.type=="Ready")].reason}')" PolicyViolated
  [[ $message =~ deploy/mistake.yaml:[0-9]+ ]] || fail "the message names no file and line: $message"
  [[ $message != *in-plain-sight* ]] || fail "the message quotes the secret"
  ok "the message names ${BASH_REMATCH[0]} and not the value"
  still_running "$pod" "$good"
  run git revert --no-edit HEAD
  git push --quiet origin HEAD:main
  run kubectl gitseal sync web -n shop --wait
  run kubectl gitseal status web -n shop
  done_step
}

# still_running compares everything with what it was before the mistake.
still_running() {
  expect "the number of Secrets of that name in the cluster" "$(kubectl get secrets -n shop -o name | grep -c '^secret/mistake$' || true)" 0
  expect "the greeting in ConfigMap web, still," "$(get configmap/web '{.data.greeting}')" second
  expect "the revision applied, still," "$(get application/web '{.status.source.revision}')" "main@sha1:$2"
  expect "the pod of Deployment web, still," "$(get pods '{.items[*].metadata.uid}')" "$1"
  expect "its state" "$(get pods '{.items[*].status.phase}')" Running
  secret_is_right || fail "Secret db lost its value"
  ok "Secret db holds the right value, still"
}

start_sandbox
install_operator
make_key
make_repository
first_sync
show_secret
show_drift
show_change
show_refusal
finished=1
printf '\n%s✓ All %d steps did what they should.%s\n' "$green" "$step_count" "$plain"

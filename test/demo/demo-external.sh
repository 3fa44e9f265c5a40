#!/usr/bin/env bash
# Shows policy External on a real Vault and a real control plane: a SecretStore
# and an ExternalSecret as users of external-secrets.io have them, in Git,
# become a Secret beside what uses it. Called by `make demo-external`. It needs
# no cluster and no Vault, touches none, and leaves nothing behind; DEMO_KEEP=1
# leaves it running.
set -Eeuo pipefail
export LC_ALL=C

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=test/demo/lib.sh
source "$root/test/demo/lib.sh"

step_count=9
begin gitseal-controller kubectl-gitseal sandbox vaultserver control-plane/kubectl control-plane/kube-apiserver
for program in curl jq; do
  command -v "$program" >/dev/null || { printf 'error: the demo needs %s\n' "$program" >&2; exit 1; }
done

# The secret: made here, known to nobody but Vault, never printed, never in a
# file and in no argument.
new_value() { value=demo-$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n'); }
secret_is_right() { [[ $(get secret/db '{.data.password}' | base64 -d) == "$value" ]]; }

# vault_api sends standard input to Vault, as root: METHOD PATH.
vault_api() {
  curl --silent --show-error --fail --cacert "$dir/vault-ca.pem" --config <(printf 'header = "X-Vault-Token: %s"\n' "$vault_root") \
    --request "$1" --data @- "$vault/v1/$2"
}

start_vault() {
  step "Start a Vault: its own core, in memory, with TLS"
  mkdir -p "$dir/logs"
  vaultserver -tls >"$dir/vault.json" 2>"$dir/logs/vault.log" &
  vault_pid=$!
  until_true "Vault answers" grep -q unsealKey "$dir/vault.json" # which it says last
  vault=$(jq -r .address "$dir/vault.json")
  vault_root=$(jq -r .rootToken "$dir/vault.json")
  unseal_key=$(jq -r .unsealKey "$dir/vault.json")
  jq -r .ca "$dir/vault.json" >"$dir/vault-ca.pem"
  rm "$dir/vault.json"
  expect "whether it is sealed" "$(vault_api GET sys/seal-status </dev/null | jq .sealed)" false
  vault_api POST sys/mounts/secret <<<'{"type": "kv", "options": {"version": "2"}}'
  new_value
  until_true "KV is ready" put_value
  ok "secret/shop/db holds a username and a password, version 1"
  done_step
}

put_value() {
  printf '{"data": {"username": "shop-web", "password": "%s"}}' "$value" | vault_api PUT secret/data/shop/db
}

make_repository() {
  step "Make a repository: Deployment, Service, ConfigMap, and the manifests of external-secrets.io that describe the Secret"
  start_repository
  cat >deploy/store.yaml <<STORE
apiVersion: external-secrets.io/v1
kind: SecretStore
metadata:
  name: vault
spec:
  provider:
    vault:
      server: $vault
      path: secret
      version: v2
      caBundle: $(base64 -w0 "$dir/vault-ca.pem")
      auth:
        kubernetes:
          mountPath: kubernetes
          role: shop
          serviceAccountRef:
            name: shop-vault
STORE
  cat >deploy/db.yaml <<'SECRET'
apiVersion: external-secrets.io/v1
kind: ExternalSecret
metadata:
  name: db
spec:
  refreshInterval: 1h
  secretStoreRef:
    name: vault
    kind: SecretStore
  target:
    name: db
    template:
      engineVersion: v2
      mergePolicy: Merge
      data:
        url: "postgres://{{ .username }}:{{ .password }}@db:5432/shop"
  data:
    - secretKey: password
      remoteRef:
        key: shop/db
        property: password
  dataFrom:
    - extract:
        key: shop/db
SECRET
  indent <deploy/db.yaml
  run kubectl gitseal init web -n shop --path deploy --policy External --store-serviceaccount shop-vault
  done_step
}

# let_in does what Vault's administrator does once: trust the cluster, and let a
# ServiceAccount read what the manifests ask for.
let_in() {
  step "Let ServiceAccount shop-vault into Vault, with the rights that the manifests need and no others"
  run kubectl create namespace shop
  run kubectl create serviceaccount shop-vault -n shop
  kubectl create serviceaccount reviewer -n default >/dev/null
  kubectl create clusterrolebinding reviewer --clusterrole=system:auth-delegator --serviceaccount=default:reviewer >/dev/null
  vault_api POST sys/auth/kubernetes <<<'{"type": "kubernetes"}'
  jq -n --arg host "$(kubectl config view --raw -o jsonpath='{.clusters[0].cluster.server}')" \
    --arg ca "$(kubectl config view --raw -o jsonpath='{.clusters[0].cluster.certificate-authority-data}' | base64 -d)" \
    --rawfile jwt <(kubectl create token reviewer -n default --duration=24h | tr -d '\n') \
    '{kubernetes_host: $host, kubernetes_ca_cert: $ca, token_reviewer_jwt: $jwt}' | vault_api PUT auth/kubernetes/config
  run kubectl gitseal policy-for vault -f deploy -n shop
  kubectl gitseal policy-for vault -f deploy -n shop | jq -R -s '{policy: .}' | vault_api PUT sys/policies/acl/shop
  vault_api PUT auth/kubernetes/role/shop <<<'{"bound_service_account_names": "shop-vault", "bound_service_account_namespaces": "shop", "token_policies": "shop"}' >/dev/null
  done_step
}

first_sync() {
  step "Push, apply the Application that init wrote, and wait"
  commit "Add the shop"
  run kubectl apply -f gitseal/web.yaml
  run kubectl gitseal sync web -n shop --wait
  secret_is_right || fail "Secret db does not hold the password that Vault has"
  ok "Secret db holds the password that Vault has"
  expect "the username in it" "$(get secret/db '{.data.username}' | base64 -d)" shop-web
  [[ $(get secret/db '{.data.url}' | base64 -d) == "postgres://shop-web:$value@db:5432/shop" ]] || fail "the template's url is not right"
  ok "the url that the template makes of both is right"
  expect "the number of ready pods of Deployment web, which uses it," "$(get deployment/web '{.status.readyReplicas}')" 1
  expect "the number of CRDs of external-secrets.io in the cluster" "$(kubectl get crds -o name | grep -c external-secrets.io || true)" 0
  expect "how often Git holds the password" "$(in_git "$value")" 0
  done_step
}

show_rotation() {
  step "Change the password in Vault"
  local begun
  new_value
  put_value >/dev/null
  ok "secret/shop/db has version 2"
  begun=$(now_ms)
  run kubectl gitseal sync web -n shop --refresh --wait
  secret_is_right || fail "Secret db does not hold the new password"
  ok "Secret db holds the new password, $(($(now_ms) - begun)) ms after the command (without it, within the interval of the ExternalSecret)"
  run kubectl gitseal refs web -n shop
  done_step
}

show_outage() {
  step "Seal Vault: no secret can be read any more"
  local pod
  pod=$(get pods '{.items[*].metadata.uid}')
  vault_api PUT sys/seal </dev/null
  run kubectl gitseal sync web -n shop --refresh
  until_true "the Application says that the store does not answer" says_silent
  ok "condition SecretsReady says: $(secrets_ready)"
  ready || fail "the Application is not Ready, with values that are not old"
  ok "the Application is Ready, with the last good values: they may become 24 hours old (maxStaleness)"
  secret_is_right || fail "Secret db lost its value"
  ok "Secret db holds the last good password, still"
  expect "the pod of Deployment web, still," "$(get pods '{.items[*].metadata.uid}')" "$pod"
  printf '{"key": "%s"}' "$unseal_key" | vault_api PUT sys/unseal >/dev/null
  ok "Vault is unsealed"
  run kubectl gitseal sync web -n shop --refresh --wait
  ! says_silent || fail "the Application still says that the store does not answer"
  run kubectl gitseal status web -n shop
  done_step
}

secrets_ready() { get application/web '{.status.conditions[?(@.type=="SecretsReady")].message}'; }
says_silent() { [[ $(secrets_ready) == *"Vault is sealed"* ]]; }
ready() { [[ $(get application/web '{.status.conditions[?(@.type=="Ready")].status}') == True ]]; }

show_mistake() {
  step "Push a reference to a key that is not there, with another change in the same commit"
  local message
  sed -i 's/greeting: first/greeting: second/' deploy/configmap.yaml
  sed -i 's/property: password/property: passphrase/' deploy/db.yaml
  commit "Rename the password"
  if run kubectl gitseal sync web -n shop --wait; then fail "the sync succeeded"; fi
  message=$(get application/web '{.status.conditions[?(@.type=="Ready")].message}')
  [[ $message == *passphrase* && $message == *shop/db* ]] || fail "the message names neither key nor property: $message"
  ok "the Application says: $message"
  expect "the greeting in ConfigMap web, still," "$(get configmap/web '{.data.greeting}')" first
  secret_is_right || fail "Secret db lost its value"
  ok "Secret db holds the right password, still"
  done_step
}

start_sandbox
start_vault
install_operator
make_repository
let_in
first_sync
show_rotation
show_outage
show_mistake
finished=1
printf '\n%s✓ All %d steps did what they should.%s\n' "$green" "$step_count" "$plain"

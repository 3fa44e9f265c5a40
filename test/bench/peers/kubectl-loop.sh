#!/usr/bin/env bash
# A peer for the benchmarks: what a shell script makes of GitOps. It fetches
# each repository every second and runs `kubectl apply --server-side` on the
# directory of every Application that has not seen the commit. It opens no
# secrets, notices no drift and prunes nothing. Its Applications are ConfigMaps
# with the label bench.gitseal.dev/application.
set -euo pipefail

columns='{range .items[*]}{.metadata.namespace}|{.metadata.name}|{.data.url}|{.data.path}'
columns+='|{.metadata.annotations.bench\.gitseal\.dev/applied}|{.metadata.annotations.bench\.gitseal\.dev/requested}'
columns+='|{.metadata.annotations.bench\.gitseal\.dev/handled}{"\n"}{end}'

# fetch URL: brings the newest commit of main and prints it.
fetch() {
  local clone
  clone=clones/$(printf '%s' "$1" | sha256sum | cut -c1-16)
  [ -d "$clone" ] || git clone --quiet "$1" "$clone"
  git -C "$clone" fetch --quiet --depth 1 origin main
  git -C "$clone" checkout --quiet --force FETCH_HEAD
  printf '%s %s' "$clone" "$(git -C "$clone" rev-parse HEAD)"
}

while :; do
  declare -A fetched=()
  while IFS='|' read -r namespace name url path applied requested handled; do
    [ -n "$namespace" ] || continue
    [ -n "${fetched[$url]:-}" ] || fetched[$url]=$(fetch "$url")
    read -r clone commit <<<"${fetched[$url]}"
    [ "$applied" = "$commit" ] && [ "$requested" = "$handled" ] && continue
    kubectl apply --server-side --force-conflicts --namespace "$namespace" -f "$clone/$path" >/dev/null
    kubectl annotate configmap "$name" --namespace "$namespace" --overwrite \
      "bench.gitseal.dev/applied=$commit" "bench.gitseal.dev/handled=$requested" >/dev/null
  done < <(kubectl get configmaps --all-namespaces -l bench.gitseal.dev/application -o jsonpath="$columns")
  sleep 1
done

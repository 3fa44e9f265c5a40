# shellcheck shell=bash
# What the demos share: how steps are announced, checked and ended, how the
# sandbox and the operator are started, and how everything that was started is
# stopped again. Sourced by demo.sh and demo-external.sh.

step_count=
step_number=0
step_title=
step_begun=0
shown=
operator_pid=
watcher_pid=
vault_pid=
operator_log=
finished=
interrupted=

# Colour is for people who watch, and not for those who asked for none.
green= red= plain=
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
  green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
fi

now_ms() { echo $((${EPOCHREALTIME/./} / 1000)); }

step() {
  step_number=$((step_number + 1))
  step_title=$1
  step_begun=$(now_ms)
  printf '\n==> %d/%d %s\n' "$step_number" "$step_count" "$step_title"
}

ok() { printf '    %s✓%s %s\n' "$green" "$plain" "$1"; }

# run shows a command as one would type it, and what it prints.
run() {
  local status=0
  printf '    $ %s\n' "$*"
  shown="$*"
  "$@" 2>&1 | indent || status=$?
  ((status)) || shown=
  return "$status"
}

# broken is for what fails unexpectedly.
broken() { fail "\"${shown:-$1}\" did not succeed (line $2)"; }

indent() { sed 's/^/      /'; }

done_step() { printf '    %s✓ done%s in %d ms\n' "$green" "$plain" $(($(now_ms) - step_begun)); }

fail() {
  trap - ERR
  printf '    %serror:%s step %d, %s: %s\n' "$red" "$plain" "$step_number" "$step_title" "$1" >&2
  printf '    hint: %s\n' "${2:-the logs are in $dir/logs}" >&2
  exit 1
}

# expect compares; where the two differ, it says how and ends the demo.
expect() {
  [[ $2 == "$3" ]] || fail "$1 is \"$2\", want \"$3\""
  ok "$1 is $3"
}

# until_true repeats a command, four times a second, until it succeeds. It
# shows a dot for every second, and ends the demo after three minutes.
until_true() {
  local what=$1 tries=0
  shift
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    operator_lives
    ((tries < 720)) || { echo; fail "not within three minutes: $what"; }
    ((tries != 4)) || printf '    waiting '
    ((tries % 4)) || printf '.'
    sleep 0.25
  done
  ((tries < 4)) || echo
}

operator_lives() {
  [[ -z $operator_pid ]] || kill -0 "$operator_pid" 2>/dev/null ||
    fail "the operator ended" "its last words: $(tail -n 1 "$operator_log")"
}

# cleanup stops, by process id, what the demo started. What a failed demo
# leaves are its logs.
cleanup() {
  local status=$?
  trap - EXIT ERR
  trap '' INT TERM
  if [[ -n $finished && ${DEMO_KEEP:-} == 1 ]]; then
    keep_hint
    exit 0
  fi
  local pid
  for pid in $watcher_pid $operator_pid $vault_pid; do
    if kill "$pid" 2>/dev/null; then wait "$pid" 2>/dev/null || true; fi
  done
  [[ ! -f $dir/sandbox.json ]] || "$root/bin/sandbox" down --dir "$dir" >/dev/null || true
  if [[ -n $finished || -n $interrupted ]]; then
    rm -rf "$dir"
  else
    find "$dir" -mindepth 1 -maxdepth 1 ! -name logs -exec rm -rf {} +
  fi
  exit "$status"
}

keep_hint() {
  cat <<KEEP

It is still running (DEMO_KEEP=1). To look around:

  export KUBECONFIG=$KUBECONFIG
  export PATH=$root/bin:$root/bin/control-plane:\$PATH
  kubectl gitseal status web -n shop
  kubectl get all -n shop
  cd $work        # the repository; push to it and watch
  tail -f $operator_log

To stop it and remove everything:

  kill $operator_pid $vault_pid; $root/bin/sandbox down --dir $dir; rm -rf $dir
KEEP
}

# begin makes sure that the programs are there, and sets the stage: a directory,
# and an environment in which whatever cluster, repository or Git settings the
# caller has are not seen.
begin() {
  local program variable
  ((BASH_VERSINFO[0] >= 5)) || { printf 'error: bash %s is too old\nhint: install bash 5\n' "$BASH_VERSION" >&2; exit 1; }
  for program in "$@"; do
    [[ -x $root/bin/$program ]] || { printf 'error: bin/%s is missing\nhint: run make demo or make demo-external, which build it\n' "$program" >&2; exit 1; }
  done
  dir=$(mktemp -d "${TMPDIR:-/tmp}/gitseal-demo.XXXXXX")
  work=$dir/work/shop
  operator_log=$dir/logs/operator.log
  trap cleanup EXIT
  trap 'interrupted=1; exit 130' INT
  trap 'interrupted=1; exit 143' TERM
  trap 'broken "$BASH_COMMAND" "$LINENO"' ERR
  unset KUBECONFIG
  while read -r variable; do unset "$variable"; done < <(git rev-parse --local-env-vars)
  export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
  export KUBECACHEDIR=$dir/kubecache KUBERC=off
  export no_proxy=127.0.0.1,localhost NO_PROXY=127.0.0.1,localhost
  export PATH=$root/bin:$root/bin/control-plane:$PATH
}

get() { kubectl get -n shop "$1" -o jsonpath="$2"; }

start_sandbox() {
  step "Start a Kubernetes control plane and a Git server on this machine"
  sandbox up --dir "$dir" --assets "$root/bin/control-plane" --detach | indent
  export KUBECONFIG=$dir/kubeconfig
  expect "the answer of the API server's /readyz" "$(kubectl get --raw /readyz)" ok
  done_step
}

install_operator() {
  step "Install config/default and run the operator with the rights that it gives"
  run kubectl apply --server-side -k "$root/config/default"
  # `kubectl wait` gives up on a definition that has no conditions yet.
  until_true "the API server serves the kinds of gitseal" kubectl get applications,secretstores,clustersecretstores
  operator_kubeconfig >"$dir/operator.kubeconfig"
  mkdir "$dir/scratch"
  # The Deployment of config/default runs on a node that only plays to be one,
  # so that the program itself runs here, as the same ServiceAccount.
  nohup gitseal-controller --kubeconfig "$dir/operator.kubeconfig" --scratch "$dir/scratch" --leader-elect=false \
    --metrics-bind-address 0 --health-probe-bind-address 0 >"$operator_log" 2>&1 &
  operator_pid=$!
  until_true "the operator makes its install key" kubectl get secret gitseal-install-key -n gitseal-system
  ok "the operator runs as $(KUBECONFIG=$dir/operator.kubeconfig kubectl auth whoami -o jsonpath='{.status.userInfo.username}')"
  expect "its right to read Secrets in namespace default" "$(operator_may get secrets -n default)" no
  expect "its right to impersonate in namespace default" "$(operator_may impersonate serviceaccounts -n default)" no
  done_step
}

operator_may() { kubectl --kubeconfig "$dir/operator.kubeconfig" auth can-i "$@" 2>/dev/null || true; }

operator_kubeconfig() {
  local token
  token=$(kubectl create token gitseal-controller -n gitseal-system --duration=24h)
  cat <<EOF
apiVersion: v1
kind: Config
clusters: [{name: demo, cluster: {server: "$(kubectl config view --raw -o jsonpath='{.clusters[0].cluster.server}')", certificate-authority-data: "$(
    kubectl config view --raw -o jsonpath='{.clusters[0].cluster.certificate-authority-data}')"}}]
users: [{name: operator, user: {token: "$token"}}]
contexts: [{name: demo, context: {cluster: demo, user: operator}}]
current-context: demo
EOF
}

# start_repository goes to a new repository with a Deployment, a Service and a
# ConfigMap.
start_repository() {
  local url
  url=$(sandbox repo --dir "$dir" shop)
  git init --quiet --initial-branch=main "$work"
  cd "$work"
  git config user.name "Demo Author"
  git config user.email author@example.com
  git remote add origin "$url"
  mkdir deploy
  cp "$root"/test/demo/manifests/*.yaml deploy/
}

commit() {
  git add --all
  git commit --quiet --message "$1"
  git push --quiet origin HEAD:main
}

# in_git counts the objects' lines, of the whole history on the server, that
# hold a text. The text reaches grep on a pipe, where no process list shows it.
in_git() {
  git -C "$dir/git/shop.git" cat-file --batch --batch-all-objects |
    grep -a -c -F -f <(printf '%s\n' "$1") || true
}

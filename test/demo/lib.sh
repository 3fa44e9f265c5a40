# shellcheck shell=bash
# The frame of the demo: how steps are announced, checked and ended, and how
# everything that was started is stopped again. Sourced by demo.sh.

step_count=9
step_number=0
step_title=
step_begun=0
shown=
operator_pid=
watcher_pid=
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
# shows a dot for every second, and ends the demo after a minute.
until_true() {
  local what=$1 tries=0
  shift
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    operator_lives
    ((tries < 240)) || { echo; fail "not within a minute: $what"; }
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
  for pid in $watcher_pid $operator_pid; do
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

  kill $operator_pid; $root/bin/sandbox down --dir $dir; rm -rf $dir
KEEP
}

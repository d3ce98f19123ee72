# Progress, failures and waiting. Sourced, never run.
# shellcheck shell=bash disable=SC2154,SC2164 # see all.sh

# fail WHAT [MEND]: two lines, so that the mend is seen.
fail() {
  printf 'cluster: %s\n' "$1" >&2
  [[ -z ${2:-} ]] || printf '         %s\n' "$2" >&2
  exit 1
}

note() {
  printf '          %s\n' "$*" >&2
}

# elapsed SINCE (of EPOCHREALTIME, without its point) prints seconds with one decimal.
elapsed() {
  local -i tenths=$(((${EPOCHREALTIME/[.,]/} - $1) / 100000))
  printf '%d.%d' $((tenths / 10)) $((tenths % 10))
}

# step TITLE COMMAND…: run a function in this shell, then print what it took.
# What a failing command has said is shown then, and only then.
step() {
  local title=$1 since=${EPOCHREALTIME/[.,]/}
  shift
  "$@"
  printf '%6s s  %s\n' "$(elapsed "$since")" "$title" >&2
}

# quietly COMMAND…: show what it prints only if it fails. The command stops at
# its first error unless quietly is part of a condition.
quietly() {
  local output status
  set +e
  output=$(
    set -e
    "$@" 2>&1 </dev/null
  )
  status=$?
  set -e
  ((status == 0)) && return
  printf '%s\n' "$output" | tail -n 40 >&2
  printf 'failed: %s\n' "$*" >&2
  return "$status"
}

# wait_until SECONDS WHAT COMPONENT COMMAND…: until the command succeeds. Fails
# with the end of the component's log, at once if it has died. COMPONENT may be
# "-" where no single one answers for it.
wait_until() {
  local -i deadline=$((SECONDS + $1))
  local what=$2 component=$3 output
  shift 3
  until output=$("$@" 2>&1 </dev/null); do
    if [[ $component != - ]] && ! alive "$component"; then
      log_tail "$component"
      fail "$component ended while waiting for $what" "its log: $state/log/$component.log; mend the cause, or: make cluster-down cluster"
    fi
    if ((SECONDS >= deadline)); then
      [[ $component == - ]] || log_tail "$component"
      [[ -z $output ]] || printf '%s\n' "$output" | tail -n 20 >&2
      fail "gave up waiting for $what" "logs: $state/log; to start anew: make cluster-down cluster"
    fi
    sleep 0.2
  done
}

log_tail() {
  printf '%s\n' "--- the end of $state/log/$1.log" >&2
  tail -n 30 "$state/log/$1.log" >&2 || true
  printf '%s\n' '---' >&2
}

# Starts the node's components and tells them apart from anything else.
# Sourced, never run.
#
# A component is known by a record of pid, start time and boot, which no other
# process can match: a stale record is never trusted. All of them, and all that
# they start, are in one cgroup of the cluster's own.
# shellcheck shell=bash disable=SC2154,SC2164 # see all.sh

boot=$(</proc/sys/kernel/random/boot_id)
readonly boot

# start_time PID prints when it started, in ticks since boot. Fails for one that is not.
start_time() {
  local stat
  { stat=$(<"/proc/$1/stat"); } 2>/dev/null || return 1
  read -ra stat <<<"${stat##*) }" # the name before may hold anything
  [[ ${stat[0]} != Z ]] && printf '%s\n' "${stat[19]}"
}

# alive COMPONENT: does the very process that was started still run? Sets pid
# and command, a digest of how it was started.
alive() {
  local started booted
  pid='' command=''
  { read -r pid started booted command <"$run/pids/$1"; } 2>/dev/null || return 1
  [[ $booted == "$boot" && $(start_time "$pid") == "$started" ]]
}

# start COMPONENT COMMAND…: in the network namespace and the cgroup, unless it
# runs. One that was started in another way is replaced.
start() {
  local component=$1 child wanted
  shift
  wanted=$(cksum <<<"$*")
  wanted=${wanted%% *}
  if alive "$component"; then
    [[ $command != "$wanted" ]] || return 0
    note "$component has changed: starting it again"
    stop "$component" 20
  elif [[ -e $run/pids/$component ]]; then
    note "$component had ended: starting it again"
  fi
  (
    # The lock is not the component's to hold.
    exec >>"$state/log/$component.log" 2>&1 </dev/null {lock}>&-
    echo "$BASHPID" >"$(tracking_cgroup)/node/cgroup.procs"
    cd "$state"
    exec setsid nsenter --net="/run/netns/$netns" -- "$@"
  ) &
  child=$!
  printf '%s %s %s %s\n' "$child" "$(start_time "$child")" "$boot" "$wanted" >"$run/pids/$component"
}

# stop COMPONENT SECONDS: ask it to end, and wait that long.
stop() {
  local -i deadline=$((SECONDS + $2))
  alive "$1" || return 0
  kill "$pid" 2>/dev/null || true
  while alive "$1" && ((SECONDS < deadline)); do sleep 0.1; done
}

# hierarchies prints where cgroups are mounted: one on a host of cgroup v2, one
# for each controller on v1.
hierarchies() {
  awk '($3 == "cgroup" || $3 == "cgroup2") && $2 ~ "^/sys/fs/cgroup" {print $2}' /proc/mounts
}

# tracking_cgroup prints the folder under which every process of the cluster is.
tracking_cgroup() {
  if [[ -d /sys/fs/cgroup/pids ]]; then
    printf '%s\n' "/sys/fs/cgroup/pids/$cgroup"
  else
    printf '%s\n' "/sys/fs/cgroup/$cgroup"
  fi
}

make_cgroups() {
  local hierarchy file
  while read -r hierarchy; do
    if [[ -e $hierarchy/cgroup.controllers ]]; then
      for file in cpu cpuset memory pids io; do
        echo "+$file" >"$hierarchy/cgroup.subtree_control" || true
      done 2>/dev/null
    fi
    mkdir -p "$hierarchy/$cgroup"
    for file in cpuset.cpus cpuset.mems; do # v1: empty in a new group, which so could hold nothing
      [[ ! -e $hierarchy/$file || -e $hierarchy/cgroup.controllers ]] || cat "$hierarchy/$file" >"$hierarchy/$cgroup/$file"
    done
  done < <(hierarchies)
  mkdir -p "$(tracking_cgroup)/node"
}

# kill_cgroup ends what is left of the cluster: nothing else is in its cgroup.
kill_cgroup() {
  local folder processes i
  folder=$(tracking_cgroup)
  for ((i = 0; i < 100; i++)); do
    [[ -d $folder ]] || return 0
    mapfile -t processes < <(find "$folder" -name cgroup.procs -exec cat {} + 2>/dev/null)
    ((${#processes[@]})) || return 0
    kill -KILL "${processes[@]}" 2>/dev/null || true
    sleep 0.1
  done
  fail "processes ${processes[*]} do not end" "see /proc/PID/stack; then again: make cluster-down"
}

remove_cgroups() {
  local hierarchy
  while read -r hierarchy; do
    [[ ! -d $hierarchy/$cgroup ]] || find "$hierarchy/$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || true
  done < <(hierarchies)
}

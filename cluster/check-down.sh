#!/usr/bin/env bash
# Proves that down.sh leaves no trace: looks at the machine, brings a cluster up
# and down, looks again, and fails with the differences. Needs a machine that
# has no cluster at the time.
#
# usage: cluster/check-down.sh
set -Eeuo pipefail

# shellcheck source=lib/all.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/all.sh"

main() {
  [[ ! -e $run && ! -e $state ]] || fail "there is a cluster, which this would remove" "make cluster-down, if it may go"
  local before during after
  # Packages and programs stay: they are none of the traces.
  "$cluster/../local/install.sh" --cluster
  before=$(traces)
  "$cluster/up.sh"
  during=$(traces)
  "$cluster/down.sh"
  after=$(traces)
  ((${#during} > ${#before} + 1000)) || fail "nothing was found to differ while the cluster was up: this check sees nothing"
  diff <(printf '%s\n' "$before") <(printf '%s\n' "$after") || fail "make cluster-down left the above"
  printf '          no trace is left of %s\n' "$(diff <(printf '%s\n' "$before") <(printf '%s\n' "$during") | grep -c '^>')" >&2
}

# traces prints what a cluster could leave, a line each: processes by name and
# namespace, mounts, networks, rules, cgroups, kernel settings and folders.
traces() {
  local name
  # Those that have ended but whose parent has not asked for it yet (Z) hold nothing.
  ps -eo stat=,comm= | awk '$1 !~ /^Z/ && $2 ~ /^(containerd|kubernetes|runc|pause|postgres|redis-server|versitygw|graf-)/ {print "process", $2}' | sort | uniq -c
  awk '{print "mount", $1, $2}' /proc/mounts | sort
  find /run/netns -mindepth 1 2>/dev/null | sed 's/^/netns /' || true
  ip -brief link | awk '{print "link", $1}'
  iptables-save 2>/dev/null | grep -v '^#' | sed -E 's/\[[0-9:]+\]//; s/^/rule /' || true
  find /sys/fs/cgroup -maxdepth 2 -type d | sed 's/^/cgroup /' | sort
  for name in "${kernel_settings[@]}"; do printf 'setting %s %s\n' "$name" "$(cat "/proc/sys/$name" 2>/dev/null)"; done
  ipcs --shmems | awk '$2 ~ /^[0-9]+$/ {print "shared memory", $2}'
  find /run /var/lib /var/log /opt /etc/cni -maxdepth 2 \( -path /var/lib/dpkg -o -path /var/lib/apt \) -prune -o -print 2>/dev/null | sed 's/^/file /' | sort || true
}

main "$@"

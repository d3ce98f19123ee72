#!/usr/bin/env bash
# Ends this repository's cluster and removes every trace of it: processes,
# containers, mounts, network namespace, cgroups and files. Built programs stay,
# in the user's cache. A cluster that KUBECONFIG or GRAF_KUBE_CONTEXT names is
# left as it is. Safe to run again, and after a run that was interrupted.
#
# usage: cluster/down.sh
set -Eeuo pipefail

# shellcheck source=lib/all.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/all.sh"

main() {
  if existing_cluster; then
    note "the cluster that KUBECONFIG or GRAF_KUBE_CONTEXT names is yours: it is left as it is"
    return
  fi
  ((EUID == 0)) || fail "removing the cluster needs root" "sudo -E make cluster-down"
  if [[ ! -d $run && ! -d $state ]]; then
    note "there is no cluster"
    return
  fi
  if [[ -d $run ]]; then
    exec {lock}>"$run/lock"
    flock --nonblock "$lock" || fail "another make cluster or cluster-down is at work" "wait for it"
  fi
  step "processes and containers ended" end_processes
  step "mounts, network and cgroups removed" remove_kernel_objects
  step "files removed" remove_files
}

# end_processes: first those that have something to put in order, then all.
end_processes() {
  local component
  # The databases' shared memory would outlive a kill.
  stop services 20
  for component in kubelet kube-proxy kube-controller-manager kube-scheduler kube-apiserver etcd containerd; do
    stop "$component" 3
  done
  kill_cgroup
}

remove_kernel_objects() {
  local mount users
  while read -r mount; do
    umount --lazy "$mount"
  done < <(awk -v state="$state/" -v run="$run/" 'index($2, state) == 1 || index($2, run) == 1 {print $2}' /proc/mounts | sort -r)
  if made_netns; then
    users=$(ip netns pids "$netns" | tr '\n' ' ')
    [[ -z $users ]] || note "still in the network namespace, which ends with them: processes $users"
    ip netns delete "$netns"
  fi
  remove_cgroups
  restore_kernel_settings
}

restore_kernel_settings() {
  [[ $(head -n 1 "$run/kernel" 2>/dev/null) == "$boot" ]] || return 0
  local name value
  while read -r name value; do
    [[ $name == */* ]] || continue
    [[ $(<"/proc/sys/$name") == "$value" ]] || printf '%s\n' "$value" >"/proc/sys/$name"
  done <"$run/kernel"
}

remove_files() {
  local file
  # Four places outside of the cluster's folders are built into what it runs.
  for file in "$run"/containerd/io.containerd.runtime.v2.task/k8s.io/*/address; do
    [[ ! -e $file ]] || (
      read -r address <"$file" || true # no newline at its end
      [[ $address != unix:///run/containerd/s/* ]] || rm -f "${address#unix://}"
    )
  done
  rmdir /run/containerd/s /run/containerd 2>/dev/null || true
  for file in "$state"/containerd/io.containerd.grpc.v1.cri/sandboxes/*; do
    rm -f "/var/lib/cni/results/"*"-$(basename "$file")-"*
  done
  rmdir /var/lib/cni/results /var/lib/cni 2>/dev/null || true
  find /var/log/containers -maxdepth 1 -type l -lname "$state/*" -delete 2>/dev/null || true
  rmdir /var/log/containers 2>/dev/null || true
  [[ ! -e $state/made-var-lib-kubelet ]] || rm -rf --one-file-system /var/lib/kubelet
  rm -rf --one-file-system "$state" "$run"
}

main "$@"

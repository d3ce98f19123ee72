#!/usr/bin/env bash
# Makes sure that there is a cluster with Knative Serving and Eventing: the one
# that KUBECONFIG or GRAF_KUBE_CONTEXT names, or else one on this machine, built
# from Go modules, without Docker. Safe to run again at any time: what runs is
# left alone, what has died is started. See README.md.
#
# usage: cluster/up.sh [--check]
#
#   --check  only say whether it can be done here; status 1 and the reason if not
set -Eeuo pipefail

# shellcheck source=lib/all.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/all.sh"

main() {
  local began=${EPOCHREALTIME/[.,]/} only=${1:-}
  (($# <= 1)) && [[ $only =~ ^(--check)?$ ]] || fail "unknown arguments: $*" "usage: cluster/up.sh [--check]"
  if existing_cluster; then
    check_existing
    [[ -z $only ]] || return 0
    printf '%6s s  the cluster that exists is used: Kubernetes and Knative are ready\n' "$(elapsed "$began")" >&2
    return
  fi
  check_machine
  [[ -z $only ]] || return 0
  "$cluster/../local/install.sh" --cluster
  local module
  for module in "${modules[@]}"; do build "$module"; done
  make_folders
  step "network, certificates and configuration" prepare
  step "containerd" start_containerd
  step "images in the node" load_images & # beside the rest, which waits more than it works
  local images=$!
  step "etcd and the API server" start_apiserver
  step "the node" start_node
  step "servers on the node: Postgres, Redis, object storage, embeddings" start_services
  wait "$images" || exit
  step "Knative installed" install_knative
  step "Knative ready" wait_for_knative
  printf '%6s s  ready: Kubernetes %s, Knative Serving %s and Eventing %s; look around: cluster/kubectl.sh get pods -A\n' \
    "$(elapsed "$began")" "$(version kubernetes k8s.io/kubernetes)" "$(knative_version serving)" "$(knative_version eventing)" >&2
}

check_machine() {
  local otherwise="or set KUBECONFIG to a cluster that has Knative Serving and Eventing"
  [[ $(uname -s) == Linux ]] || fail "a cluster without Docker needs Linux, and this is $(uname -s)" "$otherwise"
  ((EUID == 0)) || fail "a cluster without Docker needs root" "sudo -E make cluster, $otherwise"
  unshare --mount --net true 2>/dev/null || fail "root may not make namespaces for mounts and networks here" "give this container CAP_SYS_ADMIN and CAP_NET_ADMIN, $otherwise"
  [[ -n $(hierarchies) ]] || fail "no cgroups are mounted under /sys/fs/cgroup" "$otherwise"
  alive kubelet && return
  require_room "$(dirname "$state")" 6 "the cluster"
  local module
  for module in "${modules[@]}"; do
    [[ -d $(module_folder "$module") ]] || require_room_to_build
  done
  local -i available
  available=$(awk '$1 == "MemAvailable:" {print int($2 / 1024)}' /proc/meminfo)
  ((available >= 3000)) || fail "$available MiB of memory are available; the cluster needs 3000" "end something, $otherwise"
}

# make_folders, and take the lock that keeps two of these scripts apart.
make_folders() {
  mkdir -p "$run" "$state"/{log,config}
  exec {lock}>"$run/lock"
  flock --nonblock "$lock" || fail "another make cluster or cluster-down is at work" "wait for it"
  # What a machine that was off has left where /run is on a disk.
  [[ $(cat "$run/boot" 2>/dev/null) == "$boot" ]] || find "$run" -mindepth 1 -maxdepth 1 ! -name lock -exec rm -rf {} +
  printf '%s\n' "$boot" >"$run/boot"
  mkdir -p "$run/pids"
}

prepare() {
  ip netns list >/dev/null 2>&1 || fail "'ip netns' does not work here" "the kernel needs network namespaces, and root may have to be given CAP_SYS_ADMIN"
  make_cgroups
  make_netns
  save_kernel_settings
  save_kubelet_folder
  make_certificates
  write_configuration
}

main "$@"

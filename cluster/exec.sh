#!/usr/bin/env bash
# Runs a command where the cluster in use can be reached, with KUBECONFIG set to
# it: in the network namespace of this repository's, or simply here for one that
# KUBECONFIG or GRAF_KUBE_CONTEXT names. May be nested.
#
# usage: cluster/exec.sh COMMAND [ARGUMENT…]
set -Eeuo pipefail

# shellcheck source=lib/all.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/all.sh"

main() {
  (($#)) || fail "nothing to run" "usage: cluster/exec.sh COMMAND [ARGUMENT…]"
  if ! existing_cluster; then
    alive kube-apiserver || fail "there is no cluster" "make cluster, or set KUBECONFIG to one that has Knative"
    # nsenter rather than ip netns exec, which would mount another /sys and so hide the cgroups.
    exec nsenter --net="/run/netns/$netns" -- env KUBECONFIG="$kubeconfig" KUBECACHEDIR="$state/kubectl" "$@"
  fi
  [[ -n ${GRAF_KUBE_CONTEXT:-} ]] || exec "$@"
  # Not every program has a flag for the context: a file that holds only this one.
  file=$(mktemp)
  trap 'rm -f "$file"' EXIT
  kubectl config view --minify --flatten >"$file"
  KUBECONFIG=$file "$@"
}

main "$@"

#!/usr/bin/env bash
# kubectl, on the cluster in use: this repository's, or the one that KUBECONFIG
# or GRAF_KUBE_CONTEXT names.
#
# usage: cluster/kubectl.sh ARGUMENT…
set -Eeuo pipefail

# shellcheck source=lib/all.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/all.sh"

if ! existing_cluster; then
  alive kube-apiserver || fail "there is no cluster" "make cluster, or set KUBECONFIG to one that has Knative"
fi
kubectl "$@"

# Where the cluster is, how it is called, and whether it is this one at all.
# Sourced, never run.
# shellcheck shell=bash disable=SC2034,SC2154,SC2164 # see all.sh

cluster=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly cluster

readonly netns=${GRAF_CLUSTER_NETNS:-graf}
readonly state=${GRAF_CLUSTER_STATE:-/var/lib/$netns-cluster} # databases, volumes, images, logs
readonly run=/run/$netns-cluster                              # process records and sockets
readonly cgroup=$netns-cluster                                # every process of the cluster is in it
readonly builds=${XDG_CACHE_HOME:-$HOME/.cache}/graf/cluster  # built programs, which stay

readonly node=graf
readonly node_ip=10.200.0.1
readonly pod_cidr=10.244.0.0/22
readonly service_cidr=10.96.0.0/16
readonly kubernetes_ip=10.96.0.1 # the service in namespace default: the first address, always
readonly dns_ip=10.96.0.10

readonly socket=$run/containerd.sock
readonly kubeconfig=$state/kubeconfig/admin.yaml

# existing_cluster: did the user name a cluster of their own? Within exec.sh,
# KUBECONFIG names this repository's.
existing_cluster() {
  [[ -n ${GRAF_KUBE_CONTEXT:-} || (-n ${KUBECONFIG:-} && $KUBECONFIG != "$kubeconfig") ]]
}

in_netns() {
  nsenter --net="/run/netns/$netns" -- "$@"
}

# kubectl runs the one that is built from modules/kubernetes, on the cluster in use.
kubectl() {
  if existing_cluster; then
    "$(kubectl_program)" ${GRAF_KUBE_CONTEXT:+--context "$GRAF_KUBE_CONTEXT"} "$@"
  else
    # KUBECACHEDIR: a folder that goes with the cluster, rather than one in $HOME.
    in_netns env KUBECONFIG="$kubeconfig" KUBECACHEDIR="$state/kubectl" "$(module_folder kubernetes)/kubernetes" kubectl "$@"
  fi
}

# kubectl_program prints "kubectl" where PATH has one, and else builds one.
kubectl_program() {
  if type -P kubectl; then return; fi
  build kubernetes
  local link
  link=$(module_folder kubernetes)/kubectl
  [[ -x $link ]] || printf '#!/bin/sh\nexec "%s/kubernetes" kubectl "$@"\n' "$(dirname "$link")" >"$link"
  chmod 755 "$link"
  printf '%s\n' "$link"
}

ctr() {
  command ctr --address "$socket" --namespace k8s.io "$@"
}

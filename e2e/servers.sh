#!/usr/bin/env bash
# Brings to this repository's cluster what overlay e2e needs there: Argo's kinds, for
# Argo itself cannot be had without its images, and a Temporal server for tests. make
# e2e runs it before it deploys. A cluster of your own is left as it is.
#
# usage: e2e/servers.sh PROGRAM    the Temporal server that make setup-test builds
#        e2e/servers.sh --remove   takes both away, with what tests have left
set -Eeuo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

# shellcheck source=../cluster/lib/all.sh
source "$root/cluster/lib/all.sh"

main() {
  (($# == 1)) || fail "one argument is needed" "usage: e2e/servers.sh PROGRAM, or --remove"
  ! existing_cluster || return 0
  if [[ $1 == --remove ]]; then
    quietly kubectl delete namespace graf-e2e --ignore-not-found
    quietly kubectl delete namespace,customresourcedefinition --selector graf.dev/for=e2e --ignore-not-found
    return
  fi
  step "Argo's kinds" install_argo
  step "Temporal, for tests" install_temporal "$1"
}

install_argo() {
  local kind
  quietly apply_file "$root/shared/kube/conformance/argo.yaml"
  for kind in workflows workflowtemplates; do
    quietly kubectl label customresourcedefinition "$kind.argoproj.io" graf.dev/for=e2e --overwrite
    quietly kubectl wait --for=condition=Established --timeout=60s "customresourcedefinition/$kind.argoproj.io"
  done
  wait_until 60 "Argo's kinds" kube-apiserver kubectl get --raw /apis/argoproj.io/v1alpha1
}

# install_temporal PROGRAM: a changed program is another image, and another pod.
install_temporal() {
  local image
  work=$(mktemp -d) # not local: the trap needs it when this function is left
  trap 'rm -rf "$work"' EXIT
  (cd "$root" && CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$work/" ./deploy/cmd/graf-image)
  image=$("$work/graf-image" --name graf-e2e-temporal --binary "$1" --output "$work/temporal.tar")
  "$root/cluster/load.sh" "$image" "$work/temporal.tar"
  sed "s#image: IMAGE\$#image: $image#" "$root/e2e/temporal.yaml" >"$work/temporal.yaml"
  quietly apply_file "$work/temporal.yaml"
  quietly kubectl rollout status deployment/temporal-frontend --namespace temporal --timeout=180s ||
    fail "the Temporal server does not get ready" "look: cluster/kubectl.sh describe pods --namespace temporal"
}

apply_file() { apply graf-e2e <"$1"; }

main "$@"

#!/usr/bin/env bash
# Puts an image into this repository's cluster, from a tarball as docker save
# and graf-image make. Name it dev.local/…: Knative asks no registry for those.
#
# usage: cluster/load.sh IMAGE TAR
set -Eeuo pipefail

# shellcheck source=lib/all.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib/all.sh"

main() {
  (($# == 2)) || fail "two arguments are needed" "usage: cluster/load.sh IMAGE TAR"
  ! existing_cluster || fail "images can only be loaded into this repository's own cluster" "push them to a registry that yours can reach: GRAF_IMAGE_REGISTRY"
  alive containerd || fail "there is no cluster" "make cluster"
  local image=$1 tar=$2
  ! present "$image" || return 0
  quietly ctr images import "$tar" || fail "containerd did not take $tar" "its log: $state/log/containerd.log"
  present "$image" || fail "$tar holds no image named $image" "see: tar -xOf $tar manifest.json"
}

present() {
  grep -qxF "$1" <<<"$(ctr images list --quiet)"
}

main "$@"

#!/usr/bin/env bash
# Runs the end-to-end tests on the cluster in use, on which Graf is deployed. make
# e2e sees to both first. The tests are compiled here, and run where the cluster can
# be reached.
#
# usage: e2e/run.sh [FLAG OF GO TEST…]
set -Eeuo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

# shellcheck source=../cluster/lib/all.sh
source "$root/cluster/lib/all.sh"

main() {
  cd "$root"
  local image codex
  work=$(mktemp -d) # not local: the trap needs it when this function is left
  trap 'rm -rf "$work"' EXIT
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$work/" ./e2e/cmd/e2e-agent ./deploy/cmd/graf-image
  image=$(deliver "$work" --name graf-e2e-agent --binary "$work/e2e-agent")
  codex=$(deliver_codex "$work")
  # The quick start is about this repository's own cluster.
  ! existing_cluster || set -- "$@" -skip TestQuickstart
  # Parallel tests wait more than they work: one for each processor would take far longer.
  GRAF_E2E_AGENT_IMAGE=$image GRAF_E2E_CODEX_IMAGE=$codex go test -tags e2e -count=1 -timeout 45m -parallel 6 -v -exec "$root/cluster/exec.sh" "$@" ./e2e
}

# deliver WORK FLAG… puts an image where the cluster finds it and prints its name.
deliver() {
  local work=$1
  shift
  deliver_by "$work" "$work/graf-image" "$@"
}

# deliver_codex WORK does so with the Codex CLI.
deliver_codex() { deliver_by "$1" deploy/codex-image.sh; }

# deliver_by WORK PROGRAM [FLAG…] does so with the image that a program makes.
deliver_by() {
  local work=$1 image
  shift
  if [[ -n ${GRAF_IMAGE_REGISTRY:-} ]]; then
    "$@" --push
    return
  fi
  image=$("$@" --output "$work/image.tar")
  cluster/load.sh "$image" "$work/image.tar" >&2
  printf '%s\n' "$image"
}

main "$@"

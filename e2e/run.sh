#!/usr/bin/env bash
# Runs the end-to-end tests on the cluster in use, on which Graf is deployed. make
# e2e sees to both first. The tests are compiled here, and run where the cluster can
# be reached.
#
# usage: e2e/run.sh [FLAG OF GO TEST…]
set -Eeuo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

main() {
  cd "$root"
  local image
  work=$(mktemp -d) # not local: the trap needs it when this function is left
  trap 'rm -rf "$work"' EXIT
  CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$work/" ./e2e/cmd/e2e-agent ./deploy/cmd/graf-image
  image=$(deliver "$work")
  # Parallel tests wait more than they work: one for each processor would take far longer.
  GRAF_E2E_AGENT_IMAGE=$image go test -tags e2e -count=1 -timeout 45m -parallel 6 -v -exec "$root/cluster/exec.sh" "$@" ./e2e
}

# deliver WORK puts the agent's image where the cluster finds it and prints its name.
deliver() {
  local arguments=(--name graf-e2e-agent --binary "$1/e2e-agent")
  if [[ -n ${GRAF_IMAGE_REGISTRY:-} ]]; then
    "$1/graf-image" "${arguments[@]}" --push
    return
  fi
  local image
  image=$("$1/graf-image" "${arguments[@]}" --output "$1/e2e-agent.tar")
  cluster/load.sh "$image" "$1/e2e-agent.tar" >&2
  printf '%s\n' "$image"
}

main "$@"

#!/usr/bin/env bash
# Packs the Codex CLI and a shell into a container image, without Docker, and prints
# the image's name. It has what tasks of kind codex need; those that work on a git
# repository need an image of your own that has git, too: docs/runner.md.
#
# usage: deploy/codex-image.sh --output FILE.tar    an archive, for cluster/load.sh
#        deploy/codex-image.sh --push               to the registry GRAF_IMAGE_REGISTRY
set -Eeuo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly root
readonly cache=${XDG_CACHE_HOME:-$HOME/.cache}/graf

fail() {
  printf 'codex-image: %s\n' "$*" >&2
  exit 1
}

# busybox prints the path of Debian's statically linked BusyBox. It is unpacked only:
# installed, it would take the place of the machine's own.
busybox() {
  local target=$cache/bin/busybox-static/busybox work
  if [[ ! -x $target ]]; then
    mkdir -p "${target%/*}"
    work=$(mktemp -d "$cache/busybox-XXXXXX")
    (cd "$work" && apt-get download busybox-static >&2 && dpkg-deb --extract ./*.deb .) ||
      fail 'cannot get busybox-static: run apt-get update and try again'
    install -m 755 "$(find "$work" -name busybox -type f -perm -u+x -print -quit)" "$target"
    rm -rf "$work"
  fi
  printf '%s\n' "$target"
}

main() {
  (($# > 0)) || fail 'say what to do with the image: --output FILE.tar, or --push'
  local codex shell arguments applet
  codex=$("$root/local/install-codex.sh")
  shell=$(busybox)
  arguments=(--name graf-codex --binary "$codex" --entrypoint /usr/local/bin/codex --file "$shell=/bin/busybox")
  while read -r applet; do
    [[ $applet == busybox ]] || arguments+=(--link "/bin/$applet=busybox")
  done < <("$shell" --list)
  cd "$root"
  go run ./deploy/cmd/graf-image "${arguments[@]}" "$@"
}

main "$@"

# Puts images into the node's containerd. Sourced, never run.
# shellcheck shell=bash disable=SC2154,SC2164 # see all.sh

# image_name MODULE PROGRAM: named after the content of what it was built from,
# so that a changed program is another image and its pods are replaced.
image_name() {
  printf 'dev.local/cluster-%s-%s:%s\n' "$1" "$2" "${digests[$1]}"
}

# load_images puts every program of every module but Kubernetes' own into the
# node, unless it is there.
load_images() {
  local module program name present archive
  present=$(ctr images list --quiet)
  for module in "${modules[@]}"; do
    [[ $module != kubernetes ]] || continue
    for program in "$(module_folder "$module")"/*; do
      name=$(image_name "$module" "$(basename "$program")")
      ! grep -qxF "$name" <<<"$present" || continue
      archive=$builds/images/${name##*/}.tar
      [[ -e $archive ]] || pack "$name" "$program" "$archive"
      quietly ctr images import "$archive" || fail "containerd did not take the image $name" "its log: $state/log/containerd.log"
    done
  done
  rm -rf "$packer"
}

readonly packer=$state/packer # the program that makes images, while it is needed

# pack NAME PROGRAM ARCHIVE: kept with the builds, as it takes longer than all the rest.
pack() {
  mkdir -p "$packer" "$(dirname "$3")"
  if [[ ! -e $packer/graf-image ]]; then
    note "packing images: half a minute the first time"
    cd "$cluster/.."
    CGO_ENABLED=0 quietly go build -trimpath -buildvcs=false -o "$packer/" ./deploy/cmd/graf-image
  fi
  quietly "$packer/graf-image" --name "$1" --binary "$2" --output "$3.partial"
  mv "$3.partial" "$3" # whole or not at all
}

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
  local module program name present work=
  present=$(ctr images list --quiet)
  for module in "${modules[@]}"; do
    [[ $module != kubernetes ]] || continue
    for program in "$(module_folder "$module")"/*; do
      name=$(image_name "$module" "$(basename "$program")")
      ! grep -qxF "$name" <<<"$present" || continue
      [[ -n $work ]] || work=$(image_workshop)
      "$work/graf-image" --name "$name" --binary "$program" --output "$work/image.tar" >/dev/null
      quietly ctr images import "$work/image.tar" || fail "containerd did not take the image $name" "its log: $state/log/containerd.log"
    done
  done
  [[ -z $work ]] || rm -rf "$work"
}

# image_workshop makes a folder with the program that makes images, and prints its name.
image_workshop() {
  local folder=$state/images
  rm -rf "$folder"
  mkdir -p "$folder"
  (cd "$cluster/.." && CGO_ENABLED=0 quietly go build -trimpath -buildvcs=false -o "$folder/graf-image" ./deploy/cmd/graf-image) ||
    fail "go build ./deploy/cmd/graf-image failed"
  printf '%s\n' "$folder"
}

# Builds modules/* into folders named after their content, outside the tree.
# MODULE/PART is a program in a folder of the module, of the versions that the
# module pins, which is built alone. Sourced, never run.
# shellcheck shell=bash disable=SC2154,SC2164 # see all.sh

readonly modules=(pause kubernetes serving eventing dns ingress)

# version MODULE PATH prints the version that the module's go.mod pins, with its v.
version() {
  awk -v path="$2" '$1 == "require" {sub(/^require /, "")} $1 == path && $2 ~ /^v/ {print $2; exit}' "$cluster/modules/$1/go.mod"
}

# link_flags MODULE prints go build's -ldflags.
link_flags() {
  local v=k8s.io/component-base/version gitversion major minor
  printf -- '-s -w'
  [[ ${1%%/*} == kubernetes ]] || return 0
  # As a library, Kubernetes does not know its version, and Knative refuses a
  # Kubernetes that does not.
  gitversion=$(version kubernetes k8s.io/kubernetes)
  IFS=. read -r major minor _ <<<"${gitversion#v}"
  printf ' -X %s' "$v.gitVersion=$gitversion" "$v.gitMajor=$major" "$v.gitMinor=$minor" \
    "$v.gitTreeState=clean" "$v.gitCommit=0000000000000000000000000000000000000000" "$v.buildDate=1970-01-01T00:00:00Z"
}

declare -A digests=()

# digest MODULE sets digests[MODULE], of all that decides what is built: only a
# change of this module's own files builds it again.
digest() {
  local sum
  sum=$({
    cat -- "$cluster/modules/${1%%/*}"/go.* "$cluster/modules/$1"/*.go 2>/dev/null || true
    link_flags "$1"
  } | sha256sum)
  digests[$1]=${sum:0:12}
}

for module in "${modules[@]}"; do digest "$module"; done

# module_folder MODULE prints where its programs are, or will be.
module_folder() {
  printf '%s\n' "$builds/${1/\//-}-${digests[$1]}"
}

# build MODULE: into a folder beside, which takes its name when it is whole.
build() {
  local folder since=${EPOCHREALTIME/[.,]/}
  folder=$(module_folder "$1")
  [[ -d $folder ]] && return
  command -v go >/dev/null || fail "Go is missing" "install it: https://go.dev/dl"
  require_room_to_build
  note "building $1: minutes the first time"
  mkdir -p "$builds"
  # What a build that was killed has left.
  find "$builds" -maxdepth 1 -name '.partial-*' -mmin +120 -exec rm -rf {} +
  (
    partial=$(mktemp -d "$builds/.partial-XXXXXX")
    trap 'rm -rf "$partial"' EXIT
    cd "$cluster/modules/$1"
    packages=tool
    [[ ! -e main.go ]] || packages=.
    # GOWORK=off: these modules' dependencies would not agree with the workspace's.
    env -u GOOS -u GOARCH -u GOFLAGS CGO_ENABLED=0 GOWORK=off \
      nice go build -trimpath -buildvcs=false -ldflags "$(link_flags "$1")" -o "$partial/" "$packages" >"$partial/.log" 2>&1 || {
      tail -n 40 "$partial/.log" >&2
      fail "go build of cluster/modules/$1 failed"
    }
    rm "$partial/.log"
    chmod 755 "$partial"
    mv -T "$partial" "$folder" || [[ -d $folder ]] # another build was faster
  )
  printf '%6s s  %s built\n' "$(elapsed "$since")" "$1" >&2
}

require_room_to_build() {
  require_room "$(dirname "$builds")" 10 "building Kubernetes and Knative"
}

# require_room FOLDER GIBIBYTES WHAT
require_room() {
  local folder=$1 free
  while [[ ! -d $folder ]]; do folder=$(dirname "$folder"); done
  free=$(df --output=avail -BG "$folder" | tr -dc '0-9\n' | tail -n 1)
  ((free >= $2)) || fail "$folder has $free GiB free; $3 needs $2" "make room, or move it: XDG_CACHE_HOME (builds), GRAF_CLUSTER_STATE (the cluster)"
}

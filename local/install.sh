#!/usr/bin/env bash
# Installs what Graf's local platform runs on and this machine lacks: Postgres
# with pgvector, Redis, and the S3 server versitygw. It starts no server,
# stops none and configures none: graf-local runs private ones of its own.
#
# usage: local/install.sh [--test | --cluster]
#   --test     prepare for the tests (GRAF_TEST_* variables name servers that
#              exist, and the race detector's C compiler is needed) instead of
#              for the platform (GRAF_* variables)
#   --cluster  install what cluster/up.sh runs Kubernetes on instead
#
# DEPS=compose checks for Docker Compose instead of installing anything.
set -Eeuo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
readonly tools=${XDG_CACHE_HOME:-$HOME/.cache}/graf/bin
# Debian 12 has no pgvector package; the source package of this suite builds on it.
readonly pgvector_suite=trixie

variables=GRAF
[[ ${1:-} == --test ]] && variables=GRAF_TEST
readonly variables

undo=() # what cleanup runs, in order

main() {
  if [[ ${1:-} == --cluster ]]; then
    install_cluster
    return
  fi
  if [[ ${DEPS:-apt} == compose ]]; then
    check_compose
    return
  fi
  [[ ${DEPS:-apt} == apt ]] || fail "DEPS=$DEPS is unknown: use apt or compose"
  if [[ $variables == GRAF_TEST ]]; then
    need_command cc CC gcc libc6-dev
    need_command git PATH git ca-certificates
    # The documentation's commands, which tests run.
    need_command curl PATH curl ca-certificates
    need_command jq PATH jq
    # What the runner's git clones from, by ssh. Users have no sbin on their path.
    PATH=$PATH:/usr/sbin need_command sshd PATH openssh-server
  fi
  if ! external DATABASE_URL; then
    install_postgres
    install_pgvector
  fi
  external REDIS_URL || need_command redis-server "${variables}_REDIS_URL" redis-server
  external S3_ENDPOINT || install_versitygw
}

# external NAME: is there a server already that takes this part?
external() {
  local variable=${variables}_$1
  [[ -n ${!variable:-} ]]
}

check_compose() {
  docker compose version >/dev/null 2>&1 ||
    fail "DEPS=compose needs Docker with the compose plugin, and 'docker compose version' fails"
}

# need_command COMMAND VARIABLE PACKAGE…: install the packages unless the
# command is there; the variable can name another.
need_command() {
  local command=$1 variable=$2
  shift 2
  command -v "$command" >/dev/null && return
  require_apt "$command" "$variable"
  step "install $*" apt_install "$@"
}

# install_cluster installs what is missing of a container runtime, its network
# plugins and the tools that cluster/ calls.
install_cluster() {
  local pair packages=()
  for pair in containerd=containerd runc=runc iptables=iptables conntrack=conntrack ip=iproute2 \
    nsenter=util-linux openssl=openssl; do
    command -v "${pair%=*}" >/dev/null || packages+=("${pair#*=}")
  done
  [[ -x /usr/lib/cni/ptp || -x /opt/cni/bin/ptp ]] || packages+=(containernetworking-plugins)
  ((${#packages[@]})) || return 0
  require_apt "${packages[*]}" KUBECONFIG
  step "install ${packages[*]}" apt_install "${packages[@]}"
}

# postgres_folder prints the folder of the newest Postgres server's programs;
# local/services looks in the same places in the same order.
postgres_folder() {
  local newest
  newest=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)
  [[ -x $newest ]] || newest=$(command -v postgres) || return 1
  dirname "$(readlink -f "$newest")"
}

install_postgres() {
  postgres_folder >/dev/null && return
  require_apt "PostgreSQL 15 or newer with pgvector" "${variables}_DATABASE_URL"
  need_lists postgresql
  local package
  package=$(apt-cache --no-all-versions show postgresql | sed -n 's/^Depends:.*\(postgresql-[0-9]\+\).*/\1/p')
  [[ -n $package ]] || fail "this distribution's postgresql package names no server version"
  step "install $package" apt_install "$package"
}

install_pgvector() {
  local folder shared version
  folder=$(postgres_folder)
  # Debian's pg_config comes with the headers only, so that its layout is known instead.
  version=$(basename "$(dirname "$folder")")
  shared=/usr/share/postgresql/$version
  [[ $folder == /usr/lib/postgresql/* ]] || shared=$("$folder/pg_config" --sharedir)
  [[ -e $shared/extension/vector.control ]] && return
  [[ $folder == /usr/lib/postgresql/* ]] ||
    fail "the Postgres in $folder lacks pgvector: install it (https://github.com/pgvector/pgvector), or set ${variables}_DATABASE_URL"
  require_apt "pgvector for PostgreSQL $version" "${variables}_DATABASE_URL"
  need_lists postgresql
  if available "postgresql-$version-pgvector"; then
    step "install postgresql-$version-pgvector" apt_install "postgresql-$version-pgvector"
    return
  fi
  local headers=postgresql-server-dev-$version
  available "$headers" ||
    fail "no package has pgvector for PostgreSQL $version, nor the headers to build it: install either, or set ${variables}_DATABASE_URL"
  # The headers of the very server that is installed, which so stays as it is.
  local installed
  installed=$(dpkg-query -W -f '${Version}' "postgresql-$version")
  [[ -z $(apt-cache show "$headers=$installed" 2>/dev/null) ]] || headers=$headers=$installed
  step "install what builds pgvector" apt_install "$headers" gcc libc6-dev make dpkg-dev
  step "build and install pgvector for PostgreSQL $version" build_pgvector "$folder/pg_config"
}

# build_pgvector PG_CONFIG: fetch Debian's source package, whose signature apt
# checks, through a configuration of our own that leaves the machine's as it is.
build_pgvector() {
  local work mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  work=$(mktemp -d)
  undo+=("rm -rf '$work'")
  # $(ORIGIN) and the like are apt's placeholders, not this shell's.
  # shellcheck disable=SC2016
  mirror=$(apt-get indextargets --format '$(ORIGIN) $(LABEL) $(REPO_URI)' 'Created-By: Packages' |
    awk '$1 == "Debian" && $2 == "Debian" && !found {print $3; found = 1}')
  [[ -n $mirror ]] ||
    fail "apt's sources name no Debian mirror to fetch pgvector from: install pgvector for this PostgreSQL, or set ${variables}_DATABASE_URL"
  mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/source"
  printf 'deb-src [%s] %s %s main\n' "$([[ -e $keyring ]] && echo "signed-by=$keyring" || echo trusted=no)" \
    "$mirror" "$pgvector_suite" >"$work/sources.list"
  # Root fetches, not apt's own user, who cannot write to this folder.
  local apt=(apt-get -q -o APT::Sandbox::User=root -o "Dir::Etc::sourcelist=$work/sources.list"
    -o Dir::Etc::sourceparts=- -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work"
    -o "Dir::Cache::archives=$work/archives")
  "${apt[@]}" update
  (cd "$work/source" && "${apt[@]}" source pgvector)
  # OPTFLAGS is emptied because -march=native would tie the result to this very processor.
  make -C "$work"/source/pgvector-*/ OPTFLAGS="" PG_CONFIG="$1" all install
}

install_versitygw() {
  local version folder
  version=$(<"$here/services/versitygw.version")
  folder=$tools/versitygw-$version
  [[ -x $folder/versitygw ]] && return
  command -v go >/dev/null || fail "Go is missing: install it (https://go.dev/dl), or set ${variables}_S3_ENDPOINT"
  step "build versitygw $version" \
    env -u GOOS -u GOARCH CGO_ENABLED=0 GOBIN="$folder" go install "github.com/versity/versitygw/cmd/versitygw@$version"
}

available() {
  [[ $(apt-cache policy "$1") =~ Candidate:\ [^\(] ]]
}

# need_lists PACKAGE: fetch apt's lists unless they know the package already.
need_lists() {
  available "$1" || step "read the package lists" refresh_lists
}

refresh_lists() {
  apt-get -q -o DPkg::Lock::Timeout=300 update
}

apt_install() {
  keep_daemons_off
  export DEBIAN_FRONTEND=noninteractive
  local package install=(apt-get -q -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 install --no-install-recommends --no-upgrade "$@")
  # Lists that are missing or name files the mirror no longer has make it fail once.
  if ! "${install[@]}"; then
    refresh_lists
    "${install[@]}"
  fi
  for package in "$@"; do
    # Its daemon is not ours to run, now or after a reboot.
    case $package in
    redis-server | containerd) systemctl disable "$package.service" 2>/dev/null || true ;;
    openssh-server) systemctl disable ssh.service 2>/dev/null || true ;;
    esac
  done
}

# keep_daemons_off makes the packages install without starting or restarting
# any server and without making Postgres's usual cluster. cleanup undoes it.
keep_daemons_off() {
  local policy=/usr/sbin/policy-rc.d clusters=/etc/postgresql-common/createcluster.d
  [[ -e $clusters/graf.conf ]] && return
  if [[ -e $policy ]]; then
    cp -a "$policy" "$policy.graf"
    undo+=("mv -f '$policy.graf' '$policy'")
  else
    undo+=("rm -f '$policy'")
  fi
  printf '#!/bin/sh\nexit 101\n' >"$policy.new"
  chmod 755 "$policy.new"
  mv -f "$policy.new" "$policy"
  undo+=("rm -f '$clusters/graf.conf'" "rmdir --ignore-fail-on-non-empty '$clusters'")
  mkdir -p "$clusters"
  printf 'create_main_cluster = false\n' >"$clusters/graf.conf"
}

cleanup() {
  local i
  for ((i = 0; i < ${#undo[@]}; i++)); do eval "${undo[i]}"; done
}

# require_apt WHAT VARIABLE: may this script install packages here?
require_apt() {
  local reason
  if ! command -v apt-get >/dev/null; then
    reason="this machine has no apt"
  elif ((EUID != 0)); then
    reason="installing it needs root"
  else
    return 0
  fi
  local otherwise="use Docker (DEPS=compose), or set $2 to one that exists"
  [[ $2 != KUBECONFIG ]] || otherwise="set KUBECONFIG to a cluster that has Knative"
  fail "$1 is missing and $reason. Install it, or run as root, or $otherwise"
}

# step TITLE COMMAND…: run the command in a shell of its own, print how long it
# took, show its output only if it fails, and undo what is temporary.
step() {
  local title=$1 log status began=${EPOCHREALTIME/[.,]/}
  shift
  log=$(mktemp)
  printf 'setup: %s … ' "$title" >&2
  set +e # a subshell that is tested directly would run with errexit off
  (
    set -e
    trap cleanup EXIT
    "$@"
  ) >"$log" 2>&1 </dev/null
  status=$?
  set -e
  if ((status)); then
    printf 'failed\n' >&2
    tail -n 40 "$log" >&2
    rm -f "$log"
    exit "$status"
  fi
  rm -f "$log"
  local -i elapsed=$(((${EPOCHREALTIME/[.,]/} - began) / 100000))
  printf '%d.%d s\n' $((elapsed / 10)) $((elapsed % 10)) >&2
}

fail() {
  printf 'setup: %s\n' "$*" >&2
  exit 1
}

main "$@"

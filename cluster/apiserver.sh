#!/usr/bin/env bash
# Builds kube-apiserver and etcd, of the versions that a cluster here runs, into
# the user's cache and prints the program that is both. Tests run them; see
# local/services. It starts nothing and needs neither root nor Linux.
#
# usage: cluster/apiserver.sh
set -Eeuo pipefail

for part in settings log build; do
  # shellcheck source=/dev/null
  source "$(dirname "${BASH_SOURCE[0]}")/lib/$part.sh"
done

# The cluster's own program has both, too, and may be there already.
if [[ -x $(module_folder kubernetes)/kubernetes ]]; then
  printf '%s\n' "$(module_folder kubernetes)/kubernetes"
  exit
fi
digest kubernetes/apiserver
build kubernetes/apiserver
printf '%s\n' "$(module_folder kubernetes/apiserver)/apiserver"

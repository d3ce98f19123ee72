# The servers that Graf's functions use, on the node rather than in pods.
# Sourced, never run.
# shellcheck shell=bash disable=SC2154,SC2164 # see all.sh

# start_services runs graf-local's servers, which it restarts when they die, on
# the node's address. Where they are is in $state/services.env.
start_services() {
  :
}

# The servers that Graf's functions use: on the node rather than in pods, as a
# company's own would be. Sourced, never run.
# shellcheck shell=bash disable=SC2154,SC2164 # see all.sh

readonly services_env=$state/services.env # where they are: the functions' settings, a line each

# start_services runs Postgres, Redis, object storage and the offline embedding
# model on the node's address. graf-local starts again what dies of them.
start_services() {
  if ! alive services; then
    install_services
    rm -f "$services_env"
  fi
  # Variables that name servers elsewhere are not meant for this network.
  start services env -u GRAF_TEST_DATABASE_URL -u GRAF_TEST_REDIS_URL -u GRAF_TEST_S3_ENDPOINT \
    "$state/programs/graf-local" services --listen "$node_ip" --embeddings --data "$state/services" --env-file "$services_env"
  wait_until 120 "the servers on the node" services test -s "$services_env"
}

install_services() {
  env -u DEPS -u GRAF_DATABASE_URL -u GRAF_REDIS_URL -u GRAF_S3_ENDPOINT "$cluster/../local/install.sh"
  "$cluster/../local/install-model.sh" >/dev/null
  mkdir -p "$state/programs"
  cd "$cluster/.."
  CGO_ENABLED=0 quietly go build -trimpath -buildvcs=false -ldflags='-s -w' -o "$state/programs/" ./local/cmd/graf-local ./local/cmd/graf-embeddings
}

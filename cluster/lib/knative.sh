# Installs Knative from the YAML that its own modules ship. Sourced, never run.
# shellcheck shell=bash disable=SC2154,SC2164 # see all.sh

readonly namespaces=(kube-system traefik knative-serving knative-eventing)

# module_sources MODULE PATH… prints the folders that hold these Go modules.
module_sources() {
  (cd "$cluster/modules/$1" && shift && env -u GOFLAGS GOWORK=off go list -m -f '{{.Dir}}' "$@")
}

# join FILE… makes one document of many, with the images that were built here.
# Knative's control plane reserves 1.25 processors for itself, and uses a
# hundredth of that at rest: of a machine's two, too little would remain for
# pods of the functions and Jobs. Its limits stay. Two controllers wait 20 s
# before they are first asked whether they are ready, for no reason here.
join() {
  local file
  for file in "$@"; do
    cat "$file"
    printf '\n---\n'
  done | sed -E \
    -e "s#ko://knative\.dev/serving/cmd/([a-z_]+)#dev.local/cluster-serving-\1:${digests[serving]}#g" \
    -e "s#ko://knative\.dev/eventing/cmd/([a-z_]+/)?([a-z_]+)#dev.local/cluster-eventing-\2:${digests[eventing]}#g" \
    -e "s#program://dns/([a-z]+)#dev.local/cluster-dns-\1:${digests[dns]}#g" \
    -e 's#^( +cpu: )(100|125|300)m$#\110m#' \
    -e 's#^( +initialDelaySeconds:) 20$#\1 2#' \
    -e "s#program://ingress/([a-z]+)#dev.local/cluster-ingress-\1:${digests[ingress]}#g"
}

apply() {
  kubectl apply --server-side --force-conflicts --field-manager="${1:-graf-cluster}" -f -
}

yaml() {
  find "$@" -name '*.yaml' | sort
}

# install_knative applies everything once, and again when any of it changed.
install_knative() {
  local wanted
  wanted=$(cat "$cluster"/manifests/* "$cluster/lib/knative.sh" <(printf '%s ' "${digests[@]}") | sha256sum)
  [[ $(cat "$state/installed" 2>/dev/null) != "$wanted" ]] || return 0
  local sources serving networking caching eventing
  # The module cache may have been cleared since the build.
  mapfile -t sources < <(module_sources serving knative.dev/serving knative.dev/networking knative.dev/caching && module_sources eventing knative.dev/eventing)
  ((${#sources[@]} == 4)) || fail "the sources of Knative are not in Go's module cache" "cd cluster/modules/serving && GOWORK=off go mod download knative.dev/serving; the same in eventing"
  serving=${sources[0]} networking=${sources[1]} caching=${sources[2]} eventing=${sources[3]}
  quietly install_definitions
  quietly install_serving
  quietly install_eventing
  printf '%s\n' "$wanted" >"$state/installed"
}

# install_definitions: namespaces and custom resources. Symbolic links do not
# survive in a Go module, so some come from the modules that they pointed at.
install_definitions() {
  local files
  join "$cluster/manifests/dns.yaml" "$cluster/manifests/ingress.yaml" | apply
  mapfile -t files < <(yaml "$serving/config/core/300-resources" "$networking/config" "$caching/config" | grep -v '/config-network\.yaml$')
  join "$serving/config/core/100-namespace.yaml" "${files[@]}" | with_version "$(knative_version serving)" | apply
  mapfile -t files < <(yaml "$eventing/config/core/resources" "$eventing/config/channels/in-memory-channel/resources")
  join "$eventing/config/core/100-namespace.yaml" "${files[@]}" | with_version "$(knative_version eventing)" | apply
  kubectl wait --for=condition=Established --timeout=30s --all customresourcedefinitions
}

install_serving() {
  local config=$serving/config/core
  join "$config/200-serviceaccount.yaml" "$config"/200-roles/*.yaml "$networking/config/config-network.yaml" "$config"/configmaps/*.yaml |
    with_version "$(knative_version serving)" | apply
  # Under a manager of its own, so that Knative's defaults and these go side by side.
  apply graf-cluster-settings <"$cluster/manifests/serving-settings.yaml"
  join "$config/999-cache.yaml" "$config"/deployments/{activator,autoscaler,controller,webhook}.yaml "$config"/webhooks/*.yaml |
    with_version "$(knative_version serving)" | apply
}

install_eventing() {
  local files
  apply graf-cluster-settings <"$cluster/manifests/eventing-settings.yaml"
  mapfile -t files < <(yaml "$eventing/config/core" "$eventing/config/brokers/mt-channel-broker" "$eventing/config/channels/in-memory-channel" |
    grep -vE '/resources/|100-namespace|/request-reply\.yaml|hpa\.yaml')
  join "${files[@]}" | with_version "$(knative_version eventing)" | apply
}

with_version() {
  sed "s#app.kubernetes.io/version: devel#app.kubernetes.io/version: \"$1\"#"
}

# knative_version MODULE prints the release that the module belongs to: Knative
# 1.N is v0.(N+27) of its Go modules.
knative_version() {
  local _ minor patch
  IFS=. read -r _ minor patch <<<"$(version "$1" "knative.dev/$1")"
  printf '1.%d.%s\n' $((minor - 27)) "$patch"
}

# wait_for_knative: deployments say that they are available, every service
# takes connections (what a deployment says is older than a reboot), and the
# webhooks answer.
wait_for_knative() {
  local namespace
  for namespace in "${namespaces[@]}"; do
    wait_until 180 "the deployments in $namespace (cluster/kubectl.sh get pods -n $namespace)" kubelet \
      kubectl wait --for=condition=Available --timeout=1s --all deployments -n "$namespace"
  done
  for namespace in "${namespaces[@]}"; do
    wait_until 120 "the services in $namespace to take connections" kube-proxy services_answer "$namespace"
  done
  wait_until 60 "Knative's webhooks" kube-apiserver kubectl create --dry-run=server -f "$cluster/manifests/probe.yaml"
}

# services_answer NAMESPACE: does each of its services accept a connection on one of its ports?
services_answer() {
  local name address ports port
  while read -r name address ports; do
    for port in $ports; do
      # shellcheck disable=SC2016 # expanded by the inner shell
      ! in_netns timeout 1 bash -c 'exec 3<>"/dev/tcp/$0/$1"' "$address" "$port" 2>/dev/null || continue 2
    done
    echo "service $name ($address) takes no connection on $ports"
    return 1
  done < <(kubectl get services -n "$1" -o go-template='{{range .items}}{{if ne .spec.clusterIP "None"}}{{.metadata.name}} {{.spec.clusterIP}}{{range .spec.ports}}{{if ne .protocol "UDP"}} {{.port}}{{end}}{{end}}{{"\n"}}{{end}}{{end}}')
}

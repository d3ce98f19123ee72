# Checks a cluster of the user's own. It is looked at and never changed.
# Sourced, never run.
# shellcheck shell=bash disable=SC2154,SC2164 # see all.sh

# The oldest releases that should do: what Graf uses of Knative has been the
# same since. Tested are the ones that modules/ pins.
readonly oldest_kubernetes=1.30 oldest_serving=1.16.0 oldest_eventing=1.16.0

check_existing() {
  local named=${GRAF_KUBE_CONTEXT:+context $GRAF_KUBE_CONTEXT}
  named=${named:-KUBECONFIG=$KUBECONFIG}
  quietly kubectl get --raw /readyz --request-timeout=10s ||
    fail "the cluster of $named cannot be reached" "mend it, or unset KUBECONFIG and GRAF_KUBE_CONTEXT: make cluster then brings one up here"
  local kubernetes
  kubernetes=$(kubectl get --raw /version | sed -n 's/.*"gitVersion": *"v\([0-9.]*\).*/\1/p')
  require_version Kubernetes "$kubernetes" "$oldest_kubernetes" "$(version kubernetes k8s.io/kubernetes)"
  check_component Serving services.serving.knative.dev "$oldest_serving" "$(knative_version serving)" https://knative.dev/docs/install
  check_component Eventing brokers.eventing.knative.dev "$oldest_eventing" "$(knative_version eventing)" https://knative.dev/docs/install
  local name
  for name in triggers.eventing.knative.dev apiserversources.sources.knative.dev pingsources.sources.knative.dev; do
    kubectl get "customresourcedefinition/$name" >/dev/null 2>&1 ||
      fail "the cluster of $named has no $name" "install all of Knative Eventing: https://knative.dev/docs/install"
  done
  for name in knative-serving knative-eventing; do
    quietly kubectl wait --for=condition=Available --timeout=5s --all deployments -n "$name" ||
      fail "not all of Knative is available on the cluster of $named" "look: cluster/kubectl.sh get deployments -n $name"
  done
  quietly kubectl create --dry-run=server -f "$cluster/manifests/probe.yaml" ||
    fail "Knative's webhooks on the cluster of $named do not answer, or you may not create Services and Brokers there" "look: cluster/kubectl.sh auth can-i create services.serving.knative.dev"
}

# check_component NAME DEFINITION OLDEST TESTED HOW
check_component() {
  local labels found
  labels=$(kubectl get "customresourcedefinition/$2" -o jsonpath='{.metadata.labels.app\.kubernetes\.io/version}' 2>/dev/null) ||
    fail "the cluster has no Knative $1 ($2)" "install it: $5; tested is $4"
  found=${labels#v}
  if [[ ! $found =~ ^[0-9]+\.[0-9]+ ]]; then
    note "Knative $1 does not say its version (label app.kubernetes.io/version: ${found:-none}); tested is $4"
    return
  fi
  require_version "Knative $1" "$found" "$3" "$4"
}

# require_version NAME FOUND OLDEST TESTED
require_version() {
  [[ $2 == "${4#v}" ]] || note "$1 is $2; tested is ${4#v}"
  [[ $(printf '%s\n' "$2" "$3" | sort -V | head -n 1) == "$3" ]] ||
    fail "$1 $2 is too old" "upgrade it to $3 or newer; tested is ${4#v}"
}

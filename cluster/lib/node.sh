# The node: a network namespace, certificates, and the components of Kubernetes.
# Sourced, never run.
# shellcheck shell=bash disable=SC2154,SC2164 # see all.sh

# make_netns makes a network without a way out of this machine: what runs in it
# can reach the node and other pods, and nothing else.
make_netns() {
  if ! netns_exists; then
    rm -f "/run/netns/$netns" # a name without a namespace is what a reboot leaves where /run is on a disk
    ip netns add "$netns"
    printf '%s\n' "$boot" >"$run/netns"
  elif ! made_netns; then
    fail "a network namespace $netns exists that this cluster did not make" "choose another name: GRAF_CLUSTER_NETNS=NAME make cluster"
  fi
  in_netns ip link set lo up
  in_netns ip link show node0 >/dev/null 2>&1 || in_netns ip link add node0 type bridge
  in_netns ip address replace "$node_ip/24" dev node0
  in_netns ip link set node0 up
  # It leads nowhere, but a service's address needs some route before
  # kube-proxy's rules get to replace it by a pod's.
  in_netns ip route replace default via "$node_ip" dev node0
  # shellcheck disable=SC2016 # /proc/sys/net is that of the shell which opens it
  in_netns sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
}

netns_exists() {
  [[ $(stat -f -c %T "/run/netns/$netns" 2>/dev/null) == nsfs ]]
}

# made_netns: did make_netns make the one that is there?
made_netns() {
  netns_exists && [[ $(cat "$run/netns" 2>/dev/null) == "$boot" ]]
}

# The host's own settings that the kubelet changes; down.sh puts them back.
readonly kernel_settings=(vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops
  kernel/keys/root_maxkeys kernel/keys/root_maxbytes)

save_kernel_settings() {
  [[ $(head -n 1 "$run/kernel" 2>/dev/null) != "$boot" ]] || return 0
  local name
  {
    printf '%s\n' "$boot"
    for name in "${kernel_settings[@]}"; do
      [[ ! -e /proc/sys/$name ]] || printf '%s %s\n' "$name" "$(<"/proc/sys/$name")"
    done
  } >"$run/kernel"
}

# The kubelet has one folder's name built in. It is removed with the cluster only if it was not there before.
save_kubelet_folder() {
  [[ -d /var/lib/kubelet ]] || touch "$state/made-var-lib-kubelet"
}

# certificate NAME SUBJECT ALTERNATIVE-NAMES, signed by the cluster's authority.
certificate() {
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr"
  openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 3650 -out "$1.crt" \
    -extfile <(printf 'extendedKeyUsage=serverAuth,clientAuth\nsubjectAltName=%s\n' "${3:-DNS:$1}")
  rm "$1.csr"
}

# kubeconfig_of NAME writes the kubeconfig of the user whose certificate has this name.
kubeconfig_of() {
  cat >"$state/kubeconfig/$1.yaml" <<EOF
apiVersion: v1
kind: Config
current-context: $netns
contexts: [{name: $netns, context: {cluster: $netns, user: $1}}]
clusters: [{name: $netns, cluster: {server: "https://$node_ip:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: $1, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
EOF
}

# make_certificates: each component is the user that Kubernetes' own RBAC rules
# expect it to be, so that none but the administrator may do everything.
make_certificates() {
  [[ ! -e $kubeconfig ]] || return 0
  local folder=$state/pki name
  (
    umask 077
    rm -rf "$folder" "$state/kubeconfig"
    mkdir -p "$folder" "$state/kubeconfig"
    cd "$folder"
    openssl req -x509 -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/CN=$netns-cluster" \
      -keyout ca.key -out ca.crt
    openssl ecparam -name prime256v1 -genkey -noout -out service-account.key
    openssl ec -in service-account.key -pubout -out service-account.pub
    certificate apiserver /CN=kube-apiserver \
      "IP:127.0.0.1,IP:$node_ip,IP:$kubernetes_ip,DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local"
    certificate apiserver-kubelet /O=system:masters/CN=kube-apiserver-kubelet-client
    certificate kubelet "/O=system:nodes/CN=system:node:$node" "IP:$node_ip,DNS:$node"
    certificate controller-manager /CN=system:kube-controller-manager
    certificate scheduler /CN=system:kube-scheduler
    certificate proxy /CN=system:kube-proxy
    certificate admin /O=system:masters/CN=admin
    for name in kubelet controller-manager scheduler proxy admin; do kubeconfig_of "$name"; done
  ) >"$state/log/certificates.log" 2>&1 || {
    log_tail certificates
    fail "openssl made no certificates"
  }
}

# cni_plugins prints the folder of the network plugins: Debian's, or that of others.
cni_plugins() {
  if [[ -x /usr/lib/cni/ptp ]]; then echo /usr/lib/cni; else echo /opt/cni/bin; fi
}

write_configuration() {
  mkdir -p "$state/config/cni"
  local file name content
  for file in "$cluster"/config/*; do
    name=$(basename "$file")
    content=$(sed -e "s#@state@#$state#g; s#@run@#$run#g; s#@socket@#$socket#g; s#@cgroup@#$cgroup#g; s#@node@#$node#g" \
      -e "s#@pod_cidr@#$pod_cidr#g; s#@dns_ip@#$dns_ip#g; s#@cni_plugins@#$(cni_plugins)#g; s#@pause@#$(image_name pause pause)#g" "$file")
    [[ $name != *.conflist ]] || name=cni/$name
    # kube-proxy ends when its file is written, be it the same.
    [[ $content == "$(cat "$state/config/$name" 2>/dev/null)" ]] || printf '%s\n' "$content" >"$state/config/$name"
  done
}

start_containerd() {
  start containerd containerd --config "$state/config/containerd.toml"
  wait_until 60 containerd containerd ctr version
}

kubernetes_component() {
  local component=$1
  shift
  start "$component" "$(module_folder kubernetes)/kubernetes" "$component" "$@"
}

# start_apiserver. etcd does not wait for the disk: what the machine loses in a
# power cut is a cluster that `make cluster` makes again in a minute.
start_apiserver() {
  local pki=$state/pki
  kubernetes_component etcd --data-dir="$state/etcd" --unsafe-no-fsync --log-level=warn \
    --listen-client-urls=http://127.0.0.1:2379 --advertise-client-urls=http://127.0.0.1:2379
  kubernetes_component kube-apiserver --etcd-servers=http://127.0.0.1:2379 --advertise-address="$node_ip" --secure-port=6443 \
    --service-cluster-ip-range="$service_cidr" --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --allow-privileged=true --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" \
    --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$pki/service-account.pub" \
    --service-account-signing-key-file="$pki/service-account.key" --kubelet-preferred-address-types=InternalIP \
    --kubelet-client-certificate="$pki/apiserver-kubelet.crt" --kubelet-client-key="$pki/apiserver-kubelet.key" \
    --kubelet-certificate-authority="$pki/ca.crt"
  wait_until 90 "the API server" kube-apiserver kubectl get --raw /readyz
}

# start_node starts what runs pods and joins the machine to the cluster as its one node.
start_node() {
  local configs=$state/kubeconfig
  kubernetes_component kube-controller-manager --kubeconfig="$configs/controller-manager.yaml" --leader-elect=false \
    --use-service-account-credentials=true --root-ca-file="$state/pki/ca.crt" \
    --service-account-private-key-file="$state/pki/service-account.key"
  kubernetes_component kube-scheduler --kubeconfig="$configs/scheduler.yaml" --leader-elect=false
  kubernetes_component kubelet --config="$state/config/kubelet.yaml" --kubeconfig="$configs/kubelet.yaml" \
    --hostname-override="$node" --node-ip="$node_ip" --root-dir="$state/kubelet"
  kubernetes_component kube-proxy --config="$state/config/proxy.yaml"
  wait_until 60 "the node" kubelet kubectl wait --for=condition=Ready --timeout=1s "node/$node"
}

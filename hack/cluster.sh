#!/usr/bin/env bash
# The kind cluster $CLUSTER. Usage:
#   cluster.sh up              creates it, or leaves it as it is, or repairs it: a node that the engine's end stopped is
#                              started again, and a cluster that does not come back, or was never finished, made anew
#   cluster.sh down            deletes it
#   cluster.sh load IMAGE...   puts images into the node, but for those that it has
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly FINISHED=/kind/argus-finished # in the node: `kind create` ran to its end

node_state() { docker ps -a --filter "name=^$NODE\$" --format '{{.State}}'; }

# The tests' disks: a file system each, in the node's memory, and the volumes that the chart's claims are bound to.
test_disks() {
  local engine
  for engine in kafka postgres; do
    docker exec "$NODE" mkdir -p "$TEST_DISKS/$engine"
    docker exec "$NODE" mount -t tmpfs -o size=8g "argus-$engine" "$TEST_DISKS/$engine"
    kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: PersistentVolume
metadata:
  name: argus-test-$engine
spec:
  storageClassName: argus-test
  capacity: {storage: 8Gi}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: argus, name: data-argus-$engine-0}
  local: {path: $TEST_DISKS/$engine}
  nodeAffinity:
    required:
      nodeSelectorTerms:
        - matchExpressions:
            - {key: kubernetes.io/hostname, operator: In, values: [$NODE]}
YAML
  done
}

# A node that was stopped has lost them, with all that was on them.
has_test_disks() { [[ $(docker exec "$NODE" findmnt -rno TARGET -t tmpfs | grep -c "^$TEST_DISKS/") == 2 ]]; }

answers() { kubectl get --raw /readyz; }
ready() { kubectl wait --for=condition=Ready "node/$NODE" --timeout=1s; }

# Whether the cluster is whole and serves, given a little time. A started node has old leases and pods to settle.
healthy() {
  docker exec "$NODE" test -e "$FINISHED" \
    && { [[ $CLUSTER != "$TEST_CLUSTER" ]] || has_test_disks; } \
    && kind export kubeconfig --name "$CLUSTER" --kubeconfig "$KUBECONFIG" \
    && wait_for "$1" answers \
    && wait_for "$1" ready
}

config() {
  sed -e "s/^name: .*/name: $CLUSTER/" \
    -e "s/hostPort: 8080,/hostPort: $ARGUS_HTTP_PORT,/" \
    -e "s/hostPort: 5432,/hostPort: $ARGUS_POSTGRES_PORT,/" \
    -e "s/hostPort: 6379,/hostPort: $ARGUS_REDIS_PORT,/" \
    -e "s/hostPort: 9094,/hostPort: $ARGUS_KAFKA_PORT,/" "$ROOT/kind-config.yaml"
  # the kubelet must not want to lower its pods' oom_score_adj where it cannot
  has_capability "$CAP_SYS_RESOURCE" || printf 'featureGates:\n  KubeletInUserNamespace: true\n'
}

create() {
  local image
  image=$("$ROOT/hack/images.sh" --print node)
  say "creating the cluster $CLUSTER (about 30 s)"
  config | kind create cluster --image "$image" --config - --kubeconfig "$KUBECONFIG" --wait 180s --quiet
  if [[ $CLUSTER == "$TEST_CLUSTER" ]]; then test_disks; fi
  docker exec "$NODE" touch "$FINISHED"
}

delete() {
  kind delete cluster --name "$CLUSTER" --kubeconfig "$KUBECONFIG" --quiet
  rm -f "$KUBECONFIG"
}

# The host port that a running node maps to its HTTP port, to notice that other ports are asked for.
mapped_port() { docker port "$NODE" 30080/tcp | sed 's/.*://'; }

up() {
  mkdir -p "$STATE"
  case $(node_state) in
    '')
      create
      return
      ;;
    running) ;;
    *)
      say "starting the node of $CLUSTER again (about 30 s)"
      docker start "$NODE" >/dev/null || true
      ;;
  esac
  if healthy 90 >/dev/null 2>&1; then
    [[ $(mapped_port) == "$ARGUS_HTTP_PORT" ]] \
      || die "$CLUSTER has its HTTP port at $(mapped_port), not at $ARGUS_HTTP_PORT: take it down first (make down CLUSTER=$CLUSTER)"
    return
  fi
  say "$CLUSTER does not come back, or was never finished: making it anew"
  delete
  create
}

# References as containerd writes them have a registry and a domain.
in_node() { docker exec "$NODE" ctr -n k8s.io images list -q | grep -Fx "docker.io/$1" >/dev/null; }

load() {
  local image output missing=()
  for image in "$@"; do
    in_node "$image" || missing+=("$image")
  done
  ((${#missing[@]})) || return 0
  say "loading ${missing[*]}"
  output=$(kind load docker-image --name "$CLUSTER" "${missing[@]}" 2>&1) || die "loading failed: $output"
}

case ${1:-} in
  up) up ;;
  down) delete ;;
  load) load "${@:2}" ;;
  *) die "usage: cluster.sh up|down|load IMAGE..." ;;
esac

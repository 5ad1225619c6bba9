#!/usr/bin/env bash
# Installs or upgrades the chart in the cluster $CLUSTER, with this tree's application image and the engines. Pods are
# replaced where their image or settings changed, and nowhere else. Usage: install.sh [HELM_ARGUMENT...]
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly RELEASE=argus NAMESPACE=argus

# The namespace holds every pod to the restricted standard, as production should.
namespace() {
  kubectl apply -f - >/dev/null <<YAML
apiVersion: v1
kind: Namespace
metadata:
  name: $NAMESPACE
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/warn: restricted
YAML
}

# Helm holds a release that was interrupted for one still being worked on, and refuses to go on. It is not: only this
# script installs here. What the interrupted revision had applied stays and is taken over.
forget_interrupted() {
  kubectl -n "$NAMESPACE" delete secret --ignore-not-found \
    -l "owner=helm,name=$RELEASE,status in (pending-install,pending-upgrade,pending-rollback)" >/dev/null
}

# What a person needs to see when pods do not become ready.
explain() {
  local pod
  kubectl -n "$NAMESPACE" get pods -o wide
  kubectl -n "$NAMESPACE" get events --field-selector type=Warning --sort-by .lastTimestamp | tail -n 10
  for pod in $(kubectl -n "$NAMESPACE" get pods -o name); do
    kubectl -n "$NAMESPACE" wait --for=condition=Ready --timeout=0 "$pod" >/dev/null 2>&1 && continue
    echo "--- the last lines of $pod"
    kubectl -n "$NAMESPACE" logs --tail 15 "$pod" || true
  done
}

decide_images
# A reference changes with its image's content. Where engine images are pulled, the node does it, by the chart's values.
names=(app)
values=(images.app)
if [[ $ARGUS_IMAGES == build ]]; then
  names+=(kafka valkey timescaledb)
  values+=(images.kafka images.valkey images.postgres)
fi
printed=$("$ROOT/hack/images.sh" --print "${names[@]}")
mapfile -t images <<<"$printed"
"$ROOT/hack/cluster.sh" load "${images[@]}"

arguments=(--set "engines.kafka.external.port=$ARGUS_KAFKA_PORT")
for index in "${!values[@]}"; do
  arguments+=(--set "${values[index]}=${images[index]}")
done
[[ $CLUSTER != "$TEST_CLUSTER" ]] || arguments+=(--values "$ROOT/hack/test-values.yaml")
namespace
forget_interrupted
say "installing the release (about 60 s from nothing)"
if ! output=$(helm upgrade --install "$RELEASE" "$ROOT/charts/argus" --namespace "$NAMESPACE" \
  --values "$ROOT/charts/argus/values-kind.yaml" "${arguments[@]}" "$@" \
  --history-max 3 --wait --timeout 5m 2>&1); then
  explain >&2
  say "$output"
  die "the release did not become ready; pods, warnings and logs are above (export KUBECONFIG=$KUBECONFIG)"
fi

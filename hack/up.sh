#!/usr/bin/env bash
# From nothing to a stored event: engine and tools, cluster, images and release, tenant, demonstration. Every step leaves
# alone what is already as it should be, so an interrupted run is simply run again.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# timed TITLE COMMAND...: runs one step, telling how long it took.
timed() {
  local title=$1 start=$SECONDS
  shift
  step "$title"
  "$@"
  say "done in $((SECONDS - start)) s"
}

prerequisites() {
  "$ROOT/hack/docker.sh"
  decide_images
  "$ROOT/hack/tools.sh" kind helm kubectl
  "$ROOT/hack/sync.sh"
}

tenant() {
  kubectl apply -f "$ROOT/examples/demo.yaml" >/dev/null
  kubectl -n "$DEMO_NAMESPACE" wait --for=condition=Ready --timeout=120s \
    "argustenant/$DEMO_TENANT" "arguspipeline/$DEMO_PIPELINE" >/dev/null && return
  kubectl -n "$DEMO_NAMESPACE" describe argustenants,arguspipelines >&2
  die "the demo tenant is not Ready; its conditions are above"
}

began=$SECONDS
timed "1/5  Docker engine, kind, helm, kubectl, Python environment (4 min from nothing)" prerequisites
timed "2/5  kind cluster $CLUSTER (30 s; where its node image must be built, 9 min more)" "$ROOT/hack/cluster.sh" up
timed "3/5  application image, engines, Helm release argus (4 min from nothing)" "$ROOT/hack/install.sh"
timed "4/5  demo tenant and pipeline, until both are Ready (10 s)" tenant
timed "5/5  demonstration (30 s)" "$ROOT/hack/demo.sh"
say
say "ARGUS is up after $((SECONDS - began)) s.  eval \"\$(make -s env)\" sets the shell up; make status, make logs, make down."

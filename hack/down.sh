#!/usr/bin/env bash
# Removes what up.sh made: the tenants while the operator still lives, the release, the cluster with its volumes, its
# kubeconfig and the application image. The Docker engine, tools, and the images made of pinned parts alone stay, for the
# next time: clean.sh.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if docker info >/dev/null 2>&1; then
  if [[ -r $KUBECONFIG ]] && kubectl get --raw /readyz --request-timeout=5s >/dev/null 2>&1; then
    say "removing tenants, pipelines and replays, and the release"
    kubectl delete argusreplays,arguspipelines,argustenants -A --all --timeout=60s >/dev/null 2>&1 \
      || say "not all of them went within a minute; they go with the cluster"
    helm uninstall argus -n argus --ignore-not-found --wait --timeout 60s >/dev/null 2>&1 \
      || say "the release did not go within a minute; it goes with the cluster"
  fi
  "$ROOT/hack/cluster.sh" down
  [[ -n $(docker ps -aq --filter label=io.x-k8s.kind.cluster) ]] \
    || docker image ls --format '{{.Repository}}:{{.Tag}}' argus/app | xargs -r docker image rm >/dev/null 2>&1 || true
fi
rm -f "$KUBECONFIG"
say "the cluster $CLUSTER and all in it are gone; the Docker engine, tools and pinned images stay for the next time (make clean)"

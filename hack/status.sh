#!/usr/bin/env bash
# Shows what runs in the cluster $CLUSTER: pods, tenants and pipelines, and the memory of all pods of the release, as the
# kubelet measures it (working set; the control plane is not counted).
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

kubectl get --raw /readyz >/dev/null 2>&1 || die "the cluster $CLUSTER does not answer: make up"
kubectl -n argus get pods -o wide
echo
kubectl get argustenants,arguspipelines -A
echo
kubectl get --raw "/api/v1/nodes/$NODE/proxy/stats/summary" \
  | docker exec -i "$NODE" jq -r '
    [.pods[] | select(.podRef.namespace == "argus") | {name: .podRef.name, mib: (.memory.workingSetBytes / 1048576)}]
    | sort_by(-.mib)
    | (.[] | "\(.mib | round) MiB\t\(.name)"),
      "\(map(.mib) | add // 0 | round) MiB\tall pods of ARGUS, engines included (at rest, 2,560 at most)"' \
  | awk -F '\t' '{printf "%10s  %s\n", $1, $2}'

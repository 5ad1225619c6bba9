#!/usr/bin/env bash
# Follows the logs of ARGUS's own pods, or of one component: logs.sh [operator|ingest|stream|kafka|valkey|postgres].
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

selector='app.kubernetes.io/component in (operator,ingest,stream)'
[[ -z ${1:-} ]] || selector=app.kubernetes.io/component=$1
exec kubectl -n argus logs -l "$selector" --prefix --follow --tail 20 --max-log-requests 20

#!/usr/bin/env bash
# Sends some seconds of traffic to the cluster $CLUSTER and shows what became of it. Usage: demo.sh [OPTION...], with the
# options of `argus demo`.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

exports=$("$ROOT/hack/env.sh")
eval "$exports"
"$ROOT/.venv/bin/argus" demo "$@"

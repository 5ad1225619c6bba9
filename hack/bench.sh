#!/usr/bin/env bash
# Runs the bench on this host with the images that the chart runs. Usage: bench.sh COMMAND [OPTION...]; see
# bench.sh COMMAND --help.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$ROOT"
hack/sync.sh
case " $* " in
  ' compare '* | *' --help '* | *' -h '*) exec .venv/bin/python -m bench "$@" ;;
esac
hack/docker.sh
if [[ ${1:-} == cluster ]]; then
  exports=$(hack/env.sh)
  eval "$exports"
  export CLUSTER
  exec .venv/bin/python -m bench "$@"
fi
hack/tools.sh helm
PYTHONPATH=$(hack/compile.sh)
export PYTHONPATH ARGUS_ASSETS=$ROOT
peer=()
if [[ ${1:-} == local ]]; then
  if have go; then
    hack/tools.sh otelcol
    peer=(--peer "$(tool_directory otelcol)/otelcol")
  else
    say "without Go there is no OpenTelemetry Collector to compare with"
  fi
fi
printed=$(hack/images.sh --print kafka valkey timescaledb)
mapfile -t images <<<"$printed"
exec .venv/bin/python -m bench "$@" "${peer[@]}" --images "${images[@]}"

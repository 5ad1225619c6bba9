#!/usr/bin/env bash
# The stages of `make test`, each timed. Usage: test.sh STAGE..., in the order given; the first failure ends it.
# Whatever a stage started is removed at the end, however it ends, but for what ran before: KEEP=1 keeps it for a look.
# A running cluster `argus` is not touched: the end-to-end tests have `argus-test`, made from this tree.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$ROOT"
export CLUSTER=argus-test
unset KUBECONFIG ARGUS_HTTP_PORT ARGUS_POSTGRES_PORT ARGUS_REDIS_PORT ARGUS_KAFKA_PORT
bin=$ROOT/.venv/bin

report=()
started=()
made_cluster=
summary=

# Runs first whichever of them needs it, so that each stage also stands alone.
environment() { hack/sync.sh; }

lint() {
  "$bin/ruff" format --check .
  "$bin/ruff" check .
  git ls-files -z '*.sh' .ci/run | xargs -0 "$bin/shellcheck"
  "$bin/yamllint" --strict .
  "$bin/python" hack/resources.py --check
}

types() { "$bin/mypy" components operator bench tests hack/*.py; }

layers() { "$bin/lint-imports"; }

unit() { "$bin/pytest" -q tests/unit; }

# The edge as the images hold it, compiled, passes the same tests.
compiled() (
  local site
  site=$(hack/compile.sh)
  export PYTHONPATH=$site ARGUS_ASSETS=$ROOT
  [[ $("$bin/python" -c 'from argus_ingest import endpoint; print(endpoint.__file__)') == "$site"/*.so ]] \
    || die "what is imported is not what was compiled"
  "$bin/pytest" -q -m 'not interpreted' tests/unit/contract tests/unit/ingest
)

chart() {
  hack/docker.sh # tools.sh asks it whether images, and so tools, come from outside
  hack/tools.sh helm kubectl helm-unittest kubectl-validate promtool
  "$bin/pytest" -q tests/chart
}

engines() {
  hack/docker.sh
  if ! hack/engines.sh running; then
    started+=("hack/engines.sh down")
    hack/engines.sh up
  fi
}

integration() {
  engines
  "$bin/pytest" -q tests/integration
}

# The operator's logic over fakes and real engines, its matrix, its rights, and stopped at every call: a part of unit
# and integration.
operator() {
  local log status=0
  engines
  log=$(mktemp)
  PYTHONPATH=$ROOT "$bin/pytest" -q -p tests.summing tests/unit/operator/test_{crash,matrix}.py \
    tests/integration/operator/{logic,crash,test_rights.py} |
    tee "$log" || status=$?
  summary=$(tail -n 1 "$log")
  rm "$log"
  return "$status"
}

# The cluster is made from this tree, once for all stages: one that a test left behind may hold another tree's data.
# KEEP=1 takes it as it is.
fresh_cluster() {
  [[ -z $made_cluster ]] || return 0
  made_cluster=yes
  hack/docker.sh
  hack/tools.sh kind
  [[ -n ${KEEP:-} ]] || hack/cluster.sh down
  started+=("hack/cluster.sh down")
  hack/up.sh
}

e2e() {
  local exports
  fresh_cluster
  exports=$(hack/env.sh)
  (eval "$exports" && "$bin/pytest" -q tests/e2e)
}

# A random sequence of FAULTS faults under load; SEED gives the same sequence again.
chaos() {
  local exports log status=0
  fresh_cluster
  exports=$(hack/env.sh)
  log=$(mktemp)
  (eval "$exports" && exec "$bin/pytest" -q -s tests/chaos/test_random.py) | tee "$log" || status=$?
  summary=$(tail -n 1 "$log")
  rm "$log"
  return "$status"
}

# An engine or the stream away for minutes, tenants that misbehave, replays. ARGUS_SCENARIOS=short takes less of each.
scenarios() {
  local exports
  fresh_cluster
  exports=$(hack/env.sh)
  (eval "$exports" && ARGUS_SCENARIOS=${ARGUS_SCENARIOS:-full} "$bin/pytest" -q tests/chaos/scenarios)
}

# A second `make up` changes nothing and takes seconds: no pod is replaced or restarted.
again() {
  local before after
  [[ -z $made_cluster ]] || hack/up.sh # other stages may have left other settings
  pods() { kubectl --kubeconfig "$STATE/$CLUSTER.kubeconfig" -n argus get pods -o 'jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].restartCount}{"\n"}{end}' | sort; }
  fresh_cluster
  before=$(pods)
  hack/up.sh
  after=$(pods)
  [[ $before == "$after" ]] || die "a second run replaced or restarted pods: $(diff <(echo "$before") <(echo "$after"))"
  hack/down.sh
  made_cluster=
  [[ -z $(docker ps -aq --filter "name=^$CLUSTER-control-plane") ]] || die "down.sh left the cluster"
}

finish() {
  local status=$? command
  if [[ -n ${KEEP:-} ]]; then
    ((${#started[@]} == 0)) || say "kept; to remove it: CLUSTER=$CLUSTER ${started[*]}"
  else
    for command in "${started[@]}"; do $command || status=1; done
  fi
  if ((${#report[@]})); then
    printf '\n%-14s %6s\n' stage minutes
    printf '%s\n' "${report[@]}"
    printf '%-14s %6s\n' total "$(minutes "$SECONDS")"
  fi
  ((status == 0)) || say "FAILED${running:+ in $running}"
  [[ -z $summary ]] || echo "$summary"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

minutes() { awk -v seconds="$1" 'BEGIN {printf "%.1f", seconds / 60}'; }

(($#)) || die "which stages? (environment lint types layers unit compiled chart integration operator e2e chaos scenarios again)"
running=environment
environment
for running in "$@"; do
  case $running in
    environment | lint | types | layers | unit | compiled | chart | integration | operator | e2e | chaos | scenarios | again) ;;
    *) die "no stage is named '$running'" ;;
  esac
  step "$running"
  start=$SECONDS
  "$running"
  report+=("$(printf '%-14s %6s' "$running" "$(minutes $((SECONDS - start)))")")
  say "$running: $(minutes $((SECONDS - start))) min"
done
running=

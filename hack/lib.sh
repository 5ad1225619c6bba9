# shellcheck shell=bash disable=SC2034
# Sourced by every script in hack/: where things are, what is pinned, and the helpers that more than one script needs.
# It must stay free of side effects but for the variables it sets.
set -euo pipefail
shopt -s inherit_errexit

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=hack/versions.sh
source "$ROOT/hack/versions.sh"

CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/argus
STATE=${XDG_STATE_HOME:-$HOME/.local/state}/argus

say() { printf '%s\n' "$*" >&2; }
step() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
die() {
  say "error: $*"
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# The Python that the project is developed and run with; its lock files are resolved for 3.11. The system's own comes
# first: it is what the images hold, and built with the optimisations that one compiled at home often lacks.
python() {
  local name
  for name in /usr/bin/python3.11 python3.11 python3.12 python3.13 python3; do
    if have "$name" && "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$name"
      return
    fi
  done
  die "Python 3.11 or later is needed, and none is on the PATH"
}

# wait_for SECONDS COMMAND...: runs the command every half second until it succeeds.
wait_for() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || return 1
    sleep 0.5
  done
}

# content_key WORDS PATH...: sixteen hex digits that stand for the words and the content of the files and directories.
content_key() {
  local words=$1
  shift
  {
    printf '%s\n' "$words"
    find "$@" -type f -exec sha256sum {} + | cut -d' ' -f1 | sort # by content: a checkout elsewhere has the same key
  } | sha256sum | cut -c1-16
}

# The content key that an image was built under; empty for an image that is not there or has none.
image_label() { docker image inspect -f '{{index .Config.Labels "argus.inputs"}}' "$1" 2>/dev/null || true; }

# Installs Debian packages that are missing; elsewhere than on Debian, or without root, says what is missing.
need_packages() {
  local missing=() package
  for package in "$@"; do
    # dpkg also knows packages that were removed and left their configuration
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  have apt-get && [[ $EUID == 0 ]] || die "please install ${missing[*]} (only root on Debian can do that from here)"
  say "installing ${missing[*]}"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# Whether this host's root holds the capability of that number (linux/capability.h).
has_capability() { (((0x$(awk '/^CapBnd/{print $2}' /proc/self/status) >> $1) & 1)); }
CAP_SYS_RESOURCE=24

# Sets and exports ARGUS_IMAGES: `pull` where the node image is here or can be pulled, else `build`.
# Exported, so that one run of many scripts asks once.
decide_images() {
  case ${ARGUS_IMAGES:-} in
    pull | build) ;;
    '')
      if docker image inspect "$NODE_IMAGE_PULLED" >/dev/null 2>&1; then
        ARGUS_IMAGES=pull
      elif docker image inspect "$NODE_IMAGE_BUILT" >/dev/null 2>&1; then
        ARGUS_IMAGES=build
      elif timeout 20 docker manifest inspect "$NODE_IMAGE_PULLED" >/dev/null 2>&1; then
        ARGUS_IMAGES=pull
      else
        say "no image registry answers: images are built here (ARGUS_IMAGES=pull to insist)"
        ARGUS_IMAGES=build
      fi
      ;;
    *) die "ARGUS_IMAGES is '$ARGUS_IMAGES'; it can be pull or build" ;;
  esac
  export ARGUS_IMAGES
}

# Where hack/tools.sh keeps a tool: one directory for each version of it.
tool_directory() {
  local modules=$ROOT/hack/tools
  case $1 in
    kind) echo "$CACHE/tools/kind-$KIND_VERSION" ;;
    helm) echo "$CACHE/tools/helm-$HELM_VERSION" ;;
    kubectl) echo "$CACHE/tools/kubectl-$KUBERNETES_VERSION" ;;
    helm-unittest) echo "$CACHE/tools/helm-unittest-$(content_key "" "$modules/helm-unittest")" ;;
    promtool) echo "$CACHE/tools/promtool-$(content_key "" "$modules/promtool")" ;;
    otelcol) echo "$CACHE/tools/otelcol-$(content_key "" "$modules/otelcol")" ;;
    kubectl-validate) echo "$CACHE/tools/kubectl-validate-$KUBECTL_VALIDATE_VERSION" ;;
    node)
      echo "$CACHE/tools/node-$KUBERNETES_VERSION-$(content_key "$COREDNS_VERSION $LOCAL_PATH_PROVISIONER_VERSION" \
        "$modules/kubernetes" "$modules/etcd")"
      ;;
    *) die "no tool is named '$1'" ;;
  esac
}

# alone NAME COMMAND...: runs the command while no other process of this user runs one under that name; where there is no
# flock, as on macOS, at once.
alone() {
  local lock=$CACHE/locks/$1
  shift
  if ! have flock; then
    "$@"
    return
  fi
  mkdir -p "$CACHE/locks"
  (
    flock --nonblock 9 || { say "waiting for another process that does the same" && flock 9; }
    "$@" 9>&-
  ) 9>"$lock"
}

CALLER_PATH=$PATH
for tool in kind helm kubectl helm-unittest kubectl-validate promtool; do
  PATH=$(tool_directory "$tool"):$PATH
done
export PATH

# The cluster that is meant: `argus` at the well-known ports, another beside it ten thousand above.
CLUSTER=${CLUSTER:-argus}
[[ $CLUSTER == argus ]] && above=0 || above=10000
ARGUS_HTTP_PORT=${ARGUS_HTTP_PORT:-$((above + 8080))}
ARGUS_POSTGRES_PORT=${ARGUS_POSTGRES_PORT:-$((above + 5432))}
ARGUS_REDIS_PORT=${ARGUS_REDIS_PORT:-$((above + 6379))}
ARGUS_KAFKA_PORT=${ARGUS_KAFKA_PORT:-$((above + 9094))}
NODE=$CLUSTER-control-plane
# The tests' cluster has its engines' data on small disks that the tests may fill: tmpfs, so that nothing else fills up.
TEST_CLUSTER=argus-test
TEST_DISKS=/var/argus-disks
# The tenant and the pipeline of examples/demo.yaml.
DEMO_NAMESPACE=argus-demo
DEMO_TENANT=shop
DEMO_PIPELINE=web
# A file of its own: ~/.kube/config stays as it is.
export KUBECONFIG=$STATE/$CLUSTER.kubeconfig

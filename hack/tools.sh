#!/usr/bin/env bash
# Makes sure of command-line tools at their pinned versions, each in a directory of its own in the cache, all of them on
# the PATH that hack/lib.sh sets. Usage: tools.sh NAME...
#   kind, helm, kubectl            what is on the PATH serves if its version does; else the published binary, checked
#                                  against its published checksum; where images are built, the Go module
#   helm-unittest, kubectl-validate, promtool  the chart tests' tools, from their Go modules
#   otelcol                        what `make bench-local` compares the edge with, from the collector's Go modules
#   node                           the programs of the node image, from their Go modules
# Go modules are checked against their checksums in go.sum or the checksum database. From nothing, on 2 cores: node 480 s,
# promtool 140 s, helm 70 s, kind 5 s; with a warm Go cache, seconds each.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

export CGO_ENABLED=0 GOFLAGS=-trimpath

need_go() {
  have go || die "Go 1.26 or later is needed to build $1 from its module: install it and put it on the PATH"
}

# The minor version in output such as v1.34.4 or v3.21.4; 0 for anything else.
minor() { sed -nE 's/.*v[0-9]+\.([0-9]+)\..*/\1/p;t;s/.*/0/p' <<<"$1" | head -1; }

serves() {
  local found
  have "$1" || return 1
  case $1 in
    kind) [[ $(kind version -q) == "${KIND_VERSION#v}" ]] ;;
    helm)
      found=$(helm version --template '{{.Version}}')
      [[ $found == v3.* ]] && (($(minor "$found") >= 16))
      ;;
    kubectl) # one minor version to either side of the API server's
      found=$(kubectl version --client | sed -n 's/^Client Version: //p')
      [[ $found == v1.* ]] && (($(minor "$found") - $(minor "$KUBERNETES_VERSION") <= 1)) \
        && (($(minor "$KUBERNETES_VERSION") - $(minor "$found") <= 1))
      ;;
    *) return 0 ;;
  esac
}

# module NAME PACKAGE@VERSION DIRECTORY: installs a main package of a published module.
module() {
  need_go "$1"
  GOBIN=$3 go install -ldflags '-s -w' "$2"
}

# own_module NAME PACKAGE DIRECTORY: builds a main package by the module of that name in hack/tools.
own_module() {
  need_go "$1"
  (cd "$ROOT/hack/tools/$1" && go build -o "$3/$1" -ldflags '-s -w' "$2")
}

# The Kubernetes programs tell their version by variables that the linker sets; kubeadm decides by it.
kubernetes_ldflags() {
  local package flags='-s -w' version=${KUBERNETES_VERSION#v}
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    flags+=" -X $package.gitVersion=$KUBERNETES_VERSION -X $package.gitTreeState=clean"
    flags+=" -X $package.gitMajor=${version%%.*} -X $package.gitMinor=$(minor "$KUBERNETES_VERSION")"
  done
  echo "$flags"
}

# kubernetes DIRECTORY PROGRAM...
kubernetes() {
  local directory=$1
  shift
  need_go "$*"
  (cd "$ROOT/hack/tools/kubernetes" \
    && go build -o "$directory/" -ldflags "$(kubernetes_ldflags)" "${@/#/k8s.io/kubernetes/cmd/}")
}

node() {
  need_go "the node image"
  kubernetes "$1" kube-apiserver kube-controller-manager kube-proxy kube-scheduler kubeadm kubectl kubelet
  own_module etcd go.etcd.io/etcd/server/v3 "$1"
  module coredns "github.com/coredns/coredns@$COREDNS_VERSION" "$1"
  module local-path-provisioner "github.com/rancher/local-path-provisioner@$LOCAL_PATH_PROVISIONER_VERSION" "$1"
}

# download URL CHECKSUM_URL FILE: a checksum file holds the digest first, with or without a name after it.
download() {
  local expected
  curl -fsSL --retry 3 -o "$3" "$1"
  expected=$(curl -fsSL --retry 3 "$2" | cut -d' ' -f1)
  sha256sum --check --quiet <<<"$expected  $3"
}

published() {
  local name=$1 directory=$2 platform archive
  case $(uname -m) in
    x86_64) platform=linux-amd64 ;;
    aarch64) platform=linux-arm64 ;;
    *) die "no $name is published for $(uname -m)" ;;
  esac
  case $name in
    kind) download "https://kind.sigs.k8s.io/dl/$KIND_VERSION/kind-$platform"{,.sha256sum} "$directory/kind" ;;
    kubectl) download "https://dl.k8s.io/release/$KUBERNETES_VERSION/bin/${platform/-//}/kubectl"{,.sha256} "$directory/kubectl" ;;
    helm)
      archive=$directory/helm.tar.gz
      download "https://get.helm.sh/helm-$HELM_VERSION-$platform.tar.gz"{,.sha256sum} "$archive"
      tar -xzf "$archive" -C "$directory" --strip-components=1 "$platform/helm"
      rm "$archive"
      ;;
  esac
  chmod +x "$directory/$name"
}

built() {
  case $1 in
    kind) module kind "sigs.k8s.io/kind@$KIND_VERSION" "$2" ;;
    helm) module helm "helm.sh/helm/v3/cmd/helm@$HELM_VERSION" "$2" ;;
    kubectl) kubernetes "$2" kubectl ;;
  esac
}

obtain() {
  case $1 in
    kind | helm | kubectl)
      decide_images
      if [[ $ARGUS_IMAGES == pull ]]; then published "$@"; else built "$@"; fi
      ;;
    helm-unittest) own_module "$1" github.com/helm-unittest/helm-unittest/cmd/helm-unittest "$2" ;;
    # its service discovery, of a dozen clouds, takes longer to build than all the rest
    promtool) GOFLAGS="$GOFLAGS -tags=remove_all_sd" own_module "$1" github.com/prometheus/prometheus/cmd/promtool "$2" ;;
    otelcol) own_module "$1" . "$2" ;;
    kubectl-validate) module "$1" "sigs.k8s.io/kubectl-validate@$KUBECTL_VALIDATE_VERSION" "$2" ;;
    node) node "$2" ;;
    *) die "no tool is named '$1'" ;;
  esac
}

# obtain_once NAME DIRECTORY: unless another process has done it meanwhile.
obtain_once() {
  [[ ! -d $2 ]] || return 0
  say "obtaining $1"
  rm -rf "$2.part"
  mkdir -p "$2.part"
  obtain "$1" "$2.part"
  mv "$2.part" "$2"
}

for name in "$@"; do
  directory=$(tool_directory "$name")
  [[ ! -d $directory ]] || continue
  if [[ $name != node ]] && serves "$name"; then continue; fi
  alone "$name" obtain_once "$name" "$directory"
done

#!/usr/bin/env bash
# Builds the kind node image where it cannot be pulled, from Debian packages, the Kubernetes programs that
# `hack/tools.sh node` builds, and the kind module's own node files. About 2 minutes once the programs are there.
#
# What it owes to the hosts it is for: systemd 252 (bookworm) still runs on cgroup v1. Without CAP_SYS_RESOURCE nothing
# may lower an oom_score_adj, so containerd neither does it nor is asked to. Its network is one static range: one node,
# and no NetworkPolicy is enforced.
source "$(dirname "${BASH_SOURCE[0]}")/../../lib.sh"

here=$ROOT/hack/images/node
base=$ROOT/hack/images/base/build.sh
programs=$(tool_directory node)
lowers_oom_score=false
if has_capability "$CAP_SYS_RESOURCE"; then lowers_oom_score=true; fi

key=$(content_key "$KIND_VERSION $programs $lowers_oom_score" "$here" "$base")
[[ $(image_label "$NODE_IMAGE_BUILT") != "$key" ]] || exit 0

"$ROOT/hack/tools.sh" node kind
"$base" bookworm argus/kind-base:bookworm systemd conntrack iptables nftables iproute2 ethtool util-linux mount kmod \
  libseccomp2 pigz e2fsprogs bash curl jq procps containerd runc containernetworking-plugins
"$base" trixie argus/debian:trixie

say "building $NODE_IMAGE_BUILT (about 90 s)"
work=$(mktemp -d)
builder=argus-node-build
trap 'rm -rf "$work"; docker rm -f "$builder" >/dev/null 2>&1 || true' EXIT
kind_module=$(go mod download -json "sigs.k8s.io/kind@$KIND_VERSION" | sed -n 's/.*"Dir": "\(.*\)".*/\1/p')

quiet_build() { docker build "$@" >"$work/log" 2>&1 || { cat "$work/log" >&2 && die "docker build $* failed"; }; }

# The node: kind's files, our programs, and the manifests.
context=$work/node
mkdir -p "$context/bin" "$context/manifests"
cp -r "$kind_module/images/base/files" "$context/files"
chmod -R u+w "$context/files"
if ! $lowers_oom_score; then
  sed -i '/^OOMScoreAdjust=/d' "$context/files/etc/systemd/system/containerd.service"
  sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$context/files/etc/containerd/config.toml"
fi
cp "$programs"/{kubelet,kubeadm,kubectl} "$context/bin/"
cp "$here/ptp.conflist" "$context/"
echo "$KUBERNETES_VERSION" >"$context/version"
# kind insists on applying a network's manifest; ours is in the node already, so it is given an empty one
cat >"$context/manifests/default-cni.yaml" <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata:
  name: static-cni
  namespace: kube-system
YAML
# kind keeps the storage manifest as a Go string with two image names spliced in; both are ours here
provisioner=argus.local/local-path-provisioner:$LOCAL_PATH_PROVISIONER_VERSION
awk '/^const defaultStorageManifest = `/ {on = 1; next} on && /^`/ {exit} on' \
  "$kind_module/pkg/build/nodeimage/const_storage.go" \
  | sed -E "s#\` \+ storage(Provisioner|Helper)Image \+ \`#$provisioner#" >"$context/manifests/default-storage.yaml"
quiet_build --build-arg BASE=argus/kind-base:bookworm -f "$here/Dockerfile" -t argus/kind-node-base "$context"

# The control plane: one file system with all its programs, under every name that kubeadm and containerd ask for.
context=$work/control-plane
mkdir -p "$context"
cp "$programs"/{kube-apiserver,kube-controller-manager,kube-scheduler,kube-proxy,etcd,coredns,local-path-provisioner} "$context/"
cat >"$context/Dockerfile" <<'DOCKERFILE'
ARG BASE
FROM ${BASE}
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends iptables nftables conntrack kmod >/dev/null \
 && rm -rf /var/lib/apt/lists/*
COPY kube-apiserver kube-controller-manager kube-scheduler kube-proxy etcd coredns local-path-provisioner /usr/local/bin/
DOCKERFILE
quiet_build --build-arg BASE=argus/debian:trixie -t argus/control-plane "$context"

images=()
# name REFERENCE BASE ENTRYPOINT: gives an image another name and entry point.
name() {
  printf 'FROM %s\nENTRYPOINT %s\n' "$2" "$3" | quiet_build -t "$1" -
  images+=("$1")
}
pause='["/usr/bin/sleep", "infinity"]'
name "$(sed -nE 's/.*sandbox_image = "(.*)"/\1/p' "$work/node/files/etc/containerd/config.toml")" argus/debian:trixie "$pause"
for image in $("$programs/kubeadm" config images list --kubernetes-version "$KUBERNETES_VERSION"); do
  case $image in
    */pause:*) name "$image" argus/debian:trixie "$pause" ;;
    */coredns:*) name "$image" argus/control-plane '["/usr/local/bin/coredns"]' ;;
    *) name "$image" argus/control-plane '[]' ;;
  esac
done
name "$provisioner" argus/control-plane '[]'

# The images go into the node's containerd, and the node with them becomes the image.
docker rm -f "$builder" >/dev/null 2>&1 || true
docker run -d --privileged --name "$builder" --entrypoint sleep argus/kind-node-base infinity >/dev/null
docker exec -d "$builder" sh -c 'containerd >/var/log/containerd.log 2>&1'
wait_for 30 docker exec "$builder" ctr version || die "containerd does not start in the node"
docker save "${images[@]}" | docker exec -i "$builder" ctr -n k8s.io images import --all-platforms --no-unpack --digests - >/dev/null
docker exec "$builder" sh -c 'pkill -x containerd; while pgrep -x containerd >/dev/null; do sleep 0.1; done; rm -f /var/log/containerd.log'
docker commit --change 'ENTRYPOINT ["/usr/local/bin/entrypoint", "/sbin/init"]' --change "LABEL argus.inputs=$key" \
  "$builder" "$NODE_IMAGE_BUILT" >/dev/null
docker rm -f "$builder" >/dev/null
docker image rm "${images[@]}" argus/control-plane argus/kind-node-base >/dev/null

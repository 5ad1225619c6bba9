# shellcheck shell=bash disable=SC2034
# What the local cluster, its images and its tests are made of, one pin each. Read by hack/lib.sh. A new version here is
# a new cache entry and a new image: nothing made under one version serves another.

KIND_VERSION=v0.33.0
HELM_VERSION=v3.21.4
KUBECTL_VALIDATE_VERSION=v0.0.4

# Where images can be pulled: the 1.34 node published with that kind release, which asks for the digest.
NODE_IMAGE_PULLED=kindest/node:v1.34.11@sha256:44e222ee2132dab25ff87301682f89eb82c7880ea3a1bf543bfe9708fd08d67d

# Where they cannot: the node built from the modules of hack/tools, which pin Kubernetes, etcd and helm-unittest with
# their checksums. 1.34 is the last Kubernetes whose kubelet runs on cgroup v1.
KUBERNETES_VERSION=$(sed -nE 's/^require k8s\.io\/kubernetes (v.*)/\1/p' "$ROOT/hack/tools/kubernetes/go.mod")
COREDNS_VERSION=v1.12.4
LOCAL_PATH_PROVISIONER_VERSION=v0.0.30
NODE_IMAGE_BUILT=argus/kind-node:$KUBERNETES_VERSION

APP_VERSION=0.2.0
KAFKA_VERSION=4.3.0
VALKEY_VERSION=8.1
TIMESCALEDB_VERSION=2.19-pg17

UV_VERSION=0.13.9

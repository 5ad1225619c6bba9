#!/usr/bin/env bash
# Makes images present in the Docker engine. Usage: images.sh NAME..., with NAME one of app, kafka, valkey, timescaledb,
# node. `app` is always built from this tree; the others are built only where images cannot be pulled (ARGUS_IMAGES).
# Docker's layer cache makes an unchanged image a matter of a second, and leaves its id as it was.
# With --print, the reference of each is printed after it is made.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

print=false
if [[ ${1:-} == --print ]]; then
  print=true
  shift
fi
(($#)) || die "which images? (app, kafka, valkey, timescaledb, node)"
decide_images
export BUILDX_NO_DEFAULT_ATTESTATIONS=1 # an attestation holds the time, and would give each build a new id

# The base image's reference for a Debian suite, made first where it cannot be pulled.
base() {
  if [[ $ARGUS_IMAGES == pull ]]; then
    echo "debian:$1-slim"
  else
    "$ROOT/hack/images/base/build.sh" "$1" "argus/debian:$1" >&2
    echo "argus/debian:$1"
  fi
}

# build REPOSITORY:TAG DOCKERFILE CONTEXT SUITE: builds the image and prints a reference that changes with its content,
# so that Helm rolls the pods exactly when there is something new.
build() {
  local tag=$1 dockerfile=$2 context=$3 suite=$4 from id reference log
  from=$(base "$suite")
  log=$(mktemp)
  docker build --build-arg "BASE=$from" -f "$dockerfile" -t "$tag" "$context" >"$log" 2>&1 || {
    cat "$log" >&2
    die "$tag does not build"
  }
  rm "$log"
  id=$(docker image inspect -f '{{.Id}}' "$tag")
  id=${id#sha256:}
  reference=$tag-${id:0:12}
  docker tag "$tag" "$reference"
  echo "$reference"
}

# Prints the directory of Kafka's jars, as Maven resolves them for the image's pom.
kafka_libs() {
  local pom=$ROOT/hack/images/kafka/pom.xml libs
  libs=$CACHE/kafka-libs/$KAFKA_VERSION-$(content_key "" "$pom")
  if [[ ! -d $libs ]]; then
    need_packages maven
    say "fetching Kafka $KAFKA_VERSION and its libraries with Maven (about 20 s)"
    rm -rf "$libs.part"
    mvn -q -B -Dstyle.color=never -f "$pom" -Dkafka.version="$KAFKA_VERSION" dependency:copy-dependencies \
      -DincludeScope=runtime -DoutputDirectory="$libs.part" >&2
    mv "$libs.part" "$libs"
  fi
  echo "$libs"
}

# The reference that the chart pulls, by its key under `images` in values.yaml.
chart_image() { sed -nE "/^images:/,/^[^ ]/s/^  $1: *([^ ]+).*/\1/p" "$ROOT/charts/argus/values.yaml"; }

# engine NAME VERSION [CHART_KEY]
engine() {
  local name=$1 version=$2 key=${3:-$1} context libs reference
  if [[ $ARGUS_IMAGES == pull ]]; then
    reference=$(chart_image "$key")
    docker image inspect "$reference" >/dev/null 2>&1 || docker pull --quiet "$reference" >&2
    echo "$reference"
    return
  fi
  context=$scratch/$name
  cp -r "$ROOT/hack/images/$name" "$context"
  if [[ $name == kafka ]]; then
    libs=$(kafka_libs)
    rm -rf "$context/libs"
    cp -al "$libs" "$context/libs"
  fi
  build "argus/$name:$version" "$context/Dockerfile" "$context" trixie
}

image() {
  case $1 in
    app) build "argus/app:$APP_VERSION" "$ROOT/hack/images/app/Dockerfile" "$ROOT" bookworm ;;
    kafka) engine kafka "$KAFKA_VERSION" ;;
    valkey) engine valkey "$VALKEY_VERSION" ;;
    timescaledb) engine timescaledb "$TIMESCALEDB_VERSION" postgres ;;
    node)
      if [[ $ARGUS_IMAGES == pull ]]; then
        echo "$NODE_IMAGE_PULLED" # kind pulls it
      else
        "$ROOT/hack/images/node/build.sh" >&2
        echo "$NODE_IMAGE_BUILT"
      fi
      ;;
    *) die "no image is named '$1'" ;;
  esac
}

mkdir -p "$CACHE"
scratch=$(mktemp -d -p "$CACHE") # on the cache's file system, so that the jars need no copy
trap 'rm -rf "$scratch"' EXIT

for name in "$@"; do
  reference=$(image "$name")
  if $print; then echo "$reference"; fi
done

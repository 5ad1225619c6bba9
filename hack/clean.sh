#!/usr/bin/env bash
# Removes what only saves time: the cache of tools and libraries, the images made here, the Python environment. It refuses
# while a cluster of them runs. Go, Maven, pip and the Docker engine keep caches of their own.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if docker info >/dev/null 2>&1; then
  [[ -z $(docker ps -aq --filter name="^argus") ]] || die "ARGUS's containers are still there: make down, make engines-down"
  docker image ls --format '{{.Repository}}:{{.Tag}}' 'argus/*' | xargs -r docker image rm >/dev/null
fi
rm -rf "$CACHE" "$ROOT/.venv"

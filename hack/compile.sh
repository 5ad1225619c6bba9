#!/usr/bin/env bash
# Installs the project as the image holds it, its hot path compiled, into a directory of its own, and prints that
# directory: with it on PYTHONPATH the processes of this host run what pods run. A minute and a half when the source has
# changed.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$ROOT"
hack/sync.sh
mapfile -t sources < <(find components operator -name '*.py')
site=$CACHE/compiled-$(content_key "$(.venv/bin/python -VV)" "${sources[@]}" pyproject.toml hack/compile.py requirements/dev.txt)

install() {
  [[ ! -e $site/argus-compiled ]] || return 0
  say "compiling the edge's hot path (about 90 s)"
  need_packages gcc libc6-dev python3-dev
  rm -rf "$site"
  .venv/bin/pip install --quiet --no-deps --no-build-isolation --no-index --target "$site" "$ROOT" >&2
  .venv/bin/python hack/compile.py "$site" >&2
  touch "$site/argus-compiled"
}

find "$CACHE" -maxdepth 1 -name 'compiled-*' -mtime +7 -exec rm -rf {} +
alone compile install >&2
echo "$site"

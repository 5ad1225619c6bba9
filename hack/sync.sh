#!/usr/bin/env bash
# Makes .venv hold exactly what requirements/dev.txt pins, and the project itself, editable. A minute from nothing.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly VENV=$ROOT/.venv
key=$(content_key "$(python)" "$ROOT"/requirements/{dev,build}.txt "$ROOT/pyproject.toml")
[[ $(cat "$VENV/argus-synced" 2>/dev/null || true) != "$key" ]] || exit 0

say "installing the Python environment .venv (about 60 s from nothing)"
if ! "$VENV/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  "$(python)" -c 'import ensurepip' 2>/dev/null || need_packages python3-venv
  "$(python)" -m venv --clear "$VENV"
fi
"$VENV/bin/pip" install --quiet --require-hashes --only-binary :all: -r "$ROOT/requirements/build.txt" -r "$ROOT/requirements/dev.txt"
"$VENV/bin/pip" install --quiet --no-deps --no-build-isolation --no-index --editable "$ROOT"
echo "$key" >"$VENV/argus-synced"

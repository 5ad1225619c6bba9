#!/usr/bin/env bash
# Resolves requirements/*.txt anew from pyproject.toml, with hashes and without any registry's address. What is pinned
# stays pinned unless pyproject.toml forces it, or `lock.sh --upgrade` asks for the newest.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

uv=$CACHE/tools/uv-$UV_VERSION
if [[ ! -x $uv/bin/uv ]]; then
  "$(python)" -m venv "$uv"
  "$uv/bin/pip" install --quiet "uv==$UV_VERSION"
fi

cd "$ROOT"
compile() {
  "$uv/bin/uv" pip compile --quiet --generate-hashes --python-version 3.11 --no-header --no-annotate \
    --no-emit-index-url "$@"
}
compile pyproject.toml -o requirements/app.txt "$@"
# the tools beside the application, at the application's versions of what both need
compile pyproject.toml --group dev -c requirements/app.txt -o requirements/dev.txt "$@"
# what compiles the hot path, in an environment of its own beside the application's
compile --group compile -c requirements/dev.txt -o requirements/compile.txt "$@"
# what the fuzz target needs, in an environment of its own
compile --group fuzz -c requirements/app.txt -o requirements/fuzz.txt "$@"
sed -nE '/^\[build-system\]/,/^\[project\]/s/^requires = \["(.*)"\]/\1/p' pyproject.toml \
  | compile - -o requirements/build.txt "$@"

#!/usr/bin/env bash
# Looks for bodies that break the decoder, guided by the code that they reach (tests/fuzz). Usage: fuzz.sh [SECONDS]
# New inputs that reach new code are kept in the cache from run to run; one that breaks something is kept in
# tests/fuzz/findings and the exit code is 1. atheris has wheels for Linux on x86_64 and Python 3.11 to 3.13 only.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

readonly LASTS=${1:-60} CORPUS=$CACHE/fuzz/corpus FINDINGS=$ROOT/tests/fuzz/findings
readonly VENV=$CACHE/fuzz/venv

key=$(content_key "$(python)" "$ROOT/requirements/fuzz.txt")
if [[ $(cat "$VENV/argus-synced" 2>/dev/null || true) != "$key" ]]; then
  say "installing the fuzzer (about 10 s)"
  "$(python)" -m venv --clear "$VENV"
  "$VENV/bin/pip" install --quiet --require-hashes --only-binary :all: -r "$ROOT/requirements/fuzz.txt"
  echo "$key" >"$VENV/argus-synced"
fi

mkdir -p "$CORPUS" "$FINDINGS"
cd "$ROOT"
say "fuzzing for $LASTS s"
if ! PYTHONPATH=$ROOT:$ROOT/components/contract:$ROOT/components/ingest "$VENV/bin/python" tests/fuzz/judge.py \
  "$CORPUS" tests/fuzz/corpus -dict=tests/fuzz/tokens.dict "-max_total_time=$LASTS" -max_len=8192 -timeout=10 \
  -rss_limit_mb=1024 "-artifact_prefix=$FINDINGS/" -print_final_stats=1 -verbosity=0; then
  die "a body breaks an invariant; it is the newest of $FINDINGS. Mend it and put the body into tests/fuzz/corpus"
fi
rmdir "$FINDINGS" 2>/dev/null || true

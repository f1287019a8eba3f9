#!/usr/bin/env bash
# Fuzzes every target with libFuzzer, AddressSanitizer and UBSan, two at a time.
#
#   tests/fuzz/run.sh [SECONDS [TARGET ...]]
#
# SECONDS for each target (default 60). What was learnt stays in
# build/asan/corpus/TARGET for the next run; an input that fails is written to
# build/asan/failures/. To replay one: build/asan/tests/fuzz_TARGET FILE.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
seconds=${1:-60}
shift || true
targets=("$@")
[ ${#targets[@]} -gt 0 ] ||
  targets=(safetensors manifest envelope invitation tokenizer message upload)
build=build/asan
[ -n "${TRIBUTARY_FUZZ_BUILT:-}" ] || {
  cmake --preset asan
  cmake --build --preset asan --target fuzz_targets
}
mkdir -p $build/failures
fuzz() {
  mkdir -p "$build/corpus/$1"
  "$build/tests/fuzz_$1" -max_total_time="$seconds" -timeout=10 \
    -rss_limit_mb=2048 -print_final_stats=1 -verbosity=1 \
    -artifact_prefix="$build/failures/$1-" "$build/corpus/$1" \
    "tests/fuzz/corpus/$1" > "$build/failures/$1.log" 2>&1 || {
    tail -60 "$build/failures/$1.log"
    return 1
  }
  runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$build/failures/$1.log")
  found=$(find "$build/corpus/$1" -type f | wc -l)
  printf '%-12s %5s s %12s inputs, %5s kept, no failure\n' "$1" "$seconds" \
    "$runs" "$found"
}
export -f fuzz
export build seconds
printf '%s\n' "${targets[@]}" | xargs -P 2 -I{} bash -c 'fuzz {}'

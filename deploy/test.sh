#!/usr/bin/env bash
# Installs what is missing, builds everything, runs every test and ends with
# ctest's summary.
#
#   deploy/test.sh [--preset NAME] [--sanitizers [--fuzz-seconds N]]
#                  [ctest arguments ...]
#
# The preset is "release" unless given, which shares its build with the
# quickstart.
#
# --sanitizers first runs everything without LibTorch under AddressSanitizer and
# UBSan, every fuzz target for N seconds (default 60) and what has threads under
# ThreadSanitizer; the ordinary tests come last.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
preset=release
sanitizers=0
fuzz_seconds=60
while [ $# -gt 0 ]; do
  case $1 in
    --preset) preset=${2:?--preset needs a name}; shift 2 ;;
    --sanitizers) sanitizers=1; shift ;;
    --fuzz-seconds) fuzz_seconds=${2:?--fuzz-seconds needs a number}; shift 2 ;;
    -h | --help) sed -n '2,/^set -/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; exit 0 ;;
    *) break ;;
  esac
done
cd "$root"
"$here/install_dependencies.sh" --tests

stage() {
  local begin=$SECONDS
  echo "== $1"
  "${@:2}"
  echo "== $1: done in $((SECONDS - begin)) s"
}
# What runs more than one thread without LibTorch.
tsan_tests=(contributor_client_test contributor_daemon_test
  contributor_pipeline_test coordinator_gateway_test coordinator_service_test
  coordinator_storage_test coordinator_withdrawal_test jobs_test rpc_test)
if [ $sanitizers = 1 ]; then
  stage "AddressSanitizer and UBSan: build" \
    bash -c 'cmake --preset asan > /dev/null && cmake --build --preset asan'
  stage "AddressSanitizer and UBSan: tests" ctest --preset asan -j 2
  TRIBUTARY_FUZZ_BUILT=1 stage "fuzz targets, $fuzz_seconds s each" \
    tests/fuzz/run.sh "$fuzz_seconds"
  stage "ThreadSanitizer: build" bash -c 'cmake --preset tsan > /dev/null &&
    cmake --build --preset tsan --target probe_worker planted_race "$@"' \
    - "${tsan_tests[@]}"
  rm -rf build/tsan/races
  mkdir build/tsan/races
  stage "ThreadSanitizer: tests" ctest --preset tsan -j 2 \
    -R "^($(IFS='|'; echo "${tsan_tests[*]}")|races_test)\$"
  stage "ThreadSanitizer: reports" tests/sanitizers/races.py build/tsan/races
fi
stage "build, preset $preset" \
  bash -c 'cmake --preset "$1" && cmake --build --preset "$1"' - "$preset"
ctest --preset "$preset" "$@"

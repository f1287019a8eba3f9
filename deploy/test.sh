#!/usr/bin/env bash
# Installs what is missing, builds everything, runs every test and ends with
# ctest's summary.
#
#   deploy/test.sh [--preset NAME] [ctest arguments ...]
#
# The preset is "release" unless given, which shares its build with the
# quickstart.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
preset=release
case ${1:-} in
  --preset) preset=${2:?--preset needs a name}; shift 2 ;;
  -h | --help) sed -n '2,/^set -/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; exit 0 ;;
esac
cd "$root"
"$here/install_dependencies.sh" --tests
cmake --preset "$preset"
cmake --build --preset "$preset"
ctest --preset "$preset" "$@"

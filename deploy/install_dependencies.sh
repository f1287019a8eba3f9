#!/usr/bin/env bash
# Installs what the build needs: Debian packages and a Python virtual
# environment (.venv in the checkout) that carries LibTorch. Running it again
# costs nothing when nothing is to do.
#
#   deploy/install_dependencies.sh [--tests]
#
#   --tests   also what the tests need (transformers, grpcio, faketime, Clang)
#
# Environment:
#   TRIBUTARY_VENV   where the virtual environment lies (default: .venv)
#   TRIBUTARY_TORCH  the torch requirement (default: the pin in
#                    requirements.txt); pip's own settings choose the index,
#                    so a CPU-only or a CUDA build is your choice.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
venv=${TRIBUTARY_VENV:-$root/.venv}
with_tests=0
for argument in "$@"; do
  case $argument in
    --tests) with_tests=1 ;;
    -h | --help) sed -n '2,/^set -/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; exit 0 ;;
    *) echo "install_dependencies.sh: unknown argument '$argument' (wanted: --tests)" >&2; exit 2 ;;
  esac
done

packages=("$here/apt-packages.txt")
[ $with_tests = 0 ] || packages+=("$here/apt-packages-test.txt")
missing=()
while read -r package; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
    missing+=("$package")
done < <(grep -hv '^#' "${packages[@]}")
if [ ${#missing[@]} -gt 0 ]; then
  echo "Installing Debian packages: ${missing[*]}"
  sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -q
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -q \
    --no-install-recommends "${missing[@]}"
fi

requirements=("$here/requirements.txt")
[ $with_tests = 0 ] || requirements+=("$here/requirements-test.txt")
torch=${TRIBUTARY_TORCH:-$(grep '^torch==' "$here/requirements.txt")}
wanted=$({ echo "$torch"; cat "${requirements[@]}"; } | sha256sum | cut -d' ' -f1)
stamp="$venv/.tributary-requirements"
if ! grep -qs "$wanted" "$stamp"; then
  [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
  echo "Installing Python packages into $venv"
  pip=("$venv/bin/python" -m pip install --disable-pip-version-check --progress-bar off -q)
  "${pip[@]}" "$torch"
  for file in "${requirements[@]}"; do
    grep -v '^torch==' "$file" | "${pip[@]}" -r /dev/stdin
  done
  # A test environment satisfies a plain one too.
  { echo "$wanted"
    { echo "$torch"; cat "$here/requirements.txt"; } | sha256sum | cut -d' ' -f1
  } > "$stamp"
fi

#!/usr/bin/env bash
# Copies programs and every library that they are linked with below a folder,
# each under its own path: what an image has to hold besides its base.
#
#   collect.sh FOLDER PROGRAM...
set -euo pipefail
target=$1
shift
{
  printf '%s\n' "$@"
  ldd "$@" | awk '$2 == "=>" && $3 ~ "^/" {print $3}'
} | sort -u | while read -r file; do
  # The link and what it leads to. Folders without links: /lib is one.
  for path in "$(realpath "$(dirname "$file")")/$(basename "$file")" \
              "$(realpath "$file")"; do
    mkdir -p "$target$(dirname "$path")"
    cp -Pn "$path" "$target$path"
  done
done

#!/usr/bin/env bash
# Downloads Debian packages with text in other scripts and unpacks each into a
# folder of its own, without installing them: fetch_texts.sh FOLDER
set -euo pipefail
[ $# = 1 ] || { sed -n '2,3p' "$0" >&2; exit 2; }
mkdir -p "$1"
cd "$1"
for package in manpages-ru manpages-el manpages-ja manpages-zh hunspell-el \
  hunspell-ar hunspell-he hunspell-hi hunspell-ko; do
  [ -d "$package" ] && continue
  apt-get download -qq "$package"
  dpkg-deb -x "$package"_*.deb "$package.part"
  mv "$package.part" "$package"
  rm "$package"_*.deb
done

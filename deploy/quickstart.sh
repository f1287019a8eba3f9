#!/usr/bin/env bash
# A whole federation on this machine: one coordinator, three data owners, real
# text, a real anchor model, separate processes with mutual TLS on loopback.
# Release 1 holds three experts; then one owner opts out; release 2 is built
# without that expert. Ends with a table and checks its own thresholds.
#
#   deploy/quickstart.sh [--clean] [--anchor DIR] [--directory DIR]
#                        [--preset NAME] [--skip-install]
#
#   --clean         start afresh: removes the quickstart's folder first
#   --anchor DIR    a Llama-family Hugging Face directory instead of
#                   SmolLM2-135M-Instruct
#   --directory DIR where everything lies (default: quickstart/ here)
#   --preset NAME   CMake preset (default: release)
#   --skip-install  do not look for packages to install
#
# Running it again reuses everything that is there. Ctrl-C stops every process
# that it started; running it again continues.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$here")
directory=$root/quickstart
preset=release
anchor=
other_anchor=()
clean=0
install=1
while [ $# -gt 0 ]; do
  case $1 in
    --clean) clean=1 ;;
    --anchor) anchor=$(cd "${2:?--anchor needs a directory}" && pwd)
      other_anchor=(--other-anchor); shift ;;
    --directory) mkdir -p "${2:?--directory needs a path}"; directory=$(cd "$2" && pwd); shift ;;
    --preset) preset=${2:?--preset needs a name}; shift ;;
    --skip-install) install=0 ;;
    -h | --help) sed -n '2,/^set -/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; exit 0 ;;
    *) echo "quickstart.sh: unknown argument '$1'; see --help" >&2; exit 2 ;;
  esac
  shift
done

# The private domains, the width of each expert and how it is made.
contributors=(german maths icd)
declare -A width=([german]=1536 [maths]=768 [icd]=256)
declare -A recipe=([german]=train [maths]=train [icd]=prune-and-distil)
leaver=icd

bin=$root/build/$preset/bin
python=${TRIBUTARY_VENV:-$root/.venv}/bin/python
corpora=$directory/corpora
logs=$directory/logs
results=$directory/results
pids=()

# Ids of a process and of all that it started.
tree() {
  local child
  echo "$1"
  for child in $(cat "/proc/$1/task/$1/children" 2>/dev/null); do tree "$child"; done
}

stop_all() {
  trap - INT TERM EXIT
  local pid all=()
  for pid in "${pids[@]}"; do all+=($(tree "$pid")); done
  for pid in "${all[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
  # Each ends at a durable point; a worker has five seconds for that.
  for pid in "${all[@]}"; do
    for _ in $(seq 100); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
  done
}
trap 'echo; echo "Stopping."; stop_all; exit 130' INT TERM
trap stop_all EXIT

started=$(date +%s)
say() { printf '\n\033[1m[%3ds] %s\033[0m\n' $(($(date +%s) - started)) "$*"; }

fail() {
  echo "quickstart.sh: $*" >&2
  exit 1
}

coordinator() { "$bin/tributary-coordinator" --home "$directory/coordinator" "$@"; }
contributor() { local id=$1; shift; "$bin/tributary-contributor" --home "$directory/contributors/$id" "$@"; }

[ $clean = 0 ] || rm -rf "$directory"

if [ $install = 1 ]; then
  say "Dependencies"
  "$here/install_dependencies.sh"
fi
say "Build (preset $preset)"
cmake --preset "$preset" -S "$root" > /dev/null
cmake --build "$root/build/$preset" --target \
  tributary-coordinator tributary-coordinator-worker \
  tributary-contributor tributary-contributor-worker
built=$(date +%s)

mkdir -p "$directory" "$logs" "$results"
if [ -z "$anchor" ]; then
  say "Anchor: SmolLM2-135M-Instruct"
  anchor=$directory/anchor
  "$python" "$here/quickstart_anchor.py" --output "$anchor"
fi
say "Texts: three private domains, public prose, a diverse background"
"$python" "$here/quickstart_corpora.py" --tokenizer "$anchor/tokenizer.json" --output "$corpora"
federation_started=$(date +%s)

say "Coordinator: its own CA, SQLite, blobs on disk, mutual TLS on loopback"
layers=$("$python" -c 'import json,sys; print(json.load(open(sys.argv[1]))["num_hidden_layers"])' "$anchor/config.json")
if [ ! -f "$directory/coordinator/coordinator.textproto" ]; then
  coordinator init --federation quickstart --listen 127.0.0.1:0 \
    --first-layer $((layers * 2 / 3)) --compute-lock "$directory/compute.lock"
fi
rm -f "$directory/coordinator/address"
coordinator serve >> "$logs/coordinator.log" 2>&1 &
pids+=($!)
server=$!
for _ in $(seq 100); do
  [ -s "$directory/coordinator/address" ] && break
  kill -0 $server 2>/dev/null || { tail -5 "$logs/coordinator.log" >&2; fail "the coordinator ended; see $logs/coordinator.log"; }
  sleep 0.1
done
[ -s "$directory/coordinator/address" ] || fail "the coordinator does not answer; see $logs/coordinator.log"
address=$(cat "$directory/coordinator/address")
# The system chose a free port; a second run takes the same one, because the
# contributors know it.
sed -i "s/127\.0\.0\.1:0/$address/" "$directory/coordinator/coordinator.textproto"
echo "listening on $address"

public_text=(--public-text "prose=$corpora/public/prose.jsonl" --public-text "heldout=$corpora/public/heldout.jsonl")
for file in "$corpora"/public/background/*.jsonl; do
  public_text+=(--public-text "$(basename "$file" .jsonl)=$file")
done
say "Publishing the anchor with its public text and activations"
coordinator anchor publish --name quickstart --model "$anchor" "${public_text[@]}"

say "Three data owners enrol: each key is made on its own site"
for id in "${contributors[@]}"; do
  [ -f "$directory/contributors/$id/contributor.textproto" ] && continue
  rm -f "$directory/$id.invitation.json"
  coordinator contributor invite --id "$id" --output "$directory/$id.invitation.json"
  contributor "$id" init --invite "$directory/$id.invitation.json" \
    --train "$corpora/contributors/$id/train.jsonl" \
    --heldout "$corpora/contributors/$id/heldout.jsonl" \
    --width "${width[$id]}" --recipe "${recipe[$id]}" \
    --max-windows-per-document 1 --approval automatic \
    --compute-lock "$directory/compute.lock"
done

# Runs a command for every contributor at once, each line of output marked with
# its name, and fails when one of them fails.
for_all_contributors() {
  local -A jobs=()
  local id failed=()
  for id in "${contributors[@]}"; do
    ("$@" "$id" 2>&1 | sed -u "s/^/  $(printf '%-7s' "$id")| /") &
    jobs[$id]=$!
    pids+=($!)
  done
  for id in "${contributors[@]}"; do wait "${jobs[$id]}" || failed+=("$id"); done
  [ ${#failed[@]} = 0 ] || fail "failed for: ${failed[*]}"
}

if [ ! -f "$results/release-1.json" ]; then
  say "Each owner: calibrate, router rows, train, prune and distil, approve, upload"
  contribute() { contributor "$1" run --once; }
  for_all_contributors contribute
  say "Release 1: all three experts"
  coordinator release build --wait
  coordinator --format json release show latest > "$results/release-1.json.tmp"
  mv "$results/release-1.json.tmp" "$results/release-1.json"
fi

# Owners measure their own model or a release on their own text; of a release
# they report the numbers.
measure() {
  local what=$1 id=$2 file release=()
  file=$results/$id-own.json
  [ "$what" = own ] || { file=$results/$id-release-$what.json; release=(--release "$what"); }
  [ ! -s "$file" ] || return 0
  contributor "$id" --format json evaluate "${release[@]}" > "$file.tmp"
  mv "$file.tmp" "$file"
  echo "measured ${release[*]:-own model}"
}
if [ ! -f "$results/release-2.json" ]; then
  say "Owners measure release 1 on their own held-out text"
  for_all_contributors measure own
  for_all_contributors measure 1

  say "$leaver opts out"
  contributor $leaver withdraw --wait
  coordinator --format json release show latest > "$results/release-2.json.tmp"
  mv "$results/release-2.json.tmp" "$results/release-2.json"
fi
for receipt in "$directory/contributors/$leaver/receipts/"*.json; do
  contributor $leaver withdrawal verify "$receipt"
done
say "Owners measure release 2"
for_all_contributors measure 2

say "Is release 2 what a merge of the survivors alone gives?"
rm -rf "$directory/fresh-merge" "$directory/release-2"
survivors=()
for id in "${contributors[@]}"; do
  [ "$id" = $leaver ] && continue
  egress=$directory/contributors/$id/egress/$id
  survivors+=(--contribution "$egress/manifest.dsse.json:$egress/expert.safetensors")
done
contributor "${contributors[0]}" release fetch latest --output "$directory/release-2"
coordinator release merge --anchor-dir "$directory/release-2/anchor" "${survivors[@]}" --output "$directory/fresh-merge"

finished=$(date +%s)
"$python" "$here/quickstart_report.py" --directory "$directory" \
  --leaver $leaver --build-seconds $((built - started)) \
  --federation-seconds $((finished - federation_started)) \
  --bin "$bin" "${other_anchor[@]}"

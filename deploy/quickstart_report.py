#!/usr/bin/env python3
"""Prints what the quickstart's federation did, and checks it.

    quickstart_report.py --directory DIR --leaver NAME --bin DIR
                         --build-seconds N --federation-seconds N

Reads the results that the quickstart collected. Ends with exit code 1 when a
threshold is missed: differences of log-loss on the same held-out windows that a
working federation keeps and one with a broken router, or without an expert, does
not.
"""

import argparse
import base64
import json
import math
import pathlib
import sys

# Nats per token. Differences on the same windows: absolute values differ by a
# tenth or two from one split of the texts to another.
LEAST_GAIN = {"german": 0.25, "maths": 0.50, "icd": 0.20}
MOST_PUBLIC_RISE = 0.03
MOST_MERGING_LOSS = 0.05
MOST_FOLDING_LOSS = 0.05
MOST_AFTER_OPT_OUT = 0.04  # the leaver's domain against the anchor
MOST_CHANGE_OF_OTHERS = 0.03


def read(path):
    return json.loads(path.read_text())


def cell(loss, anchor):
    """Perplexity, and log-loss difference to the anchor."""
    if loss is None:
        return "-"
    if loss == anchor:
        return f"{math.exp(loss):.2f}"
    return f"{math.exp(loss):.2f} ({loss - anchor:+.3f})"


def table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(part.ljust(width) for part, width in zip(row, widths)).rstrip()
             for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


class Report:
    def __init__(self, directory, leaver):
        self.directory = directory
        self.leaver = leaver
        self.names = sorted(path.name for path in (directory / "contributors").iterdir())
        self.names.sort(key=lambda name: name == leaver)
        # losses[text][model]: model is anchor, own:<name>, release-1, release-2
        self.losses = {}
        for name in self.names:
            own = read(directory / "results" / f"{name}-own.json")["losses"]
            for entry in own:
                self.add(name, entry, {"anchor": "anchor", "own": f"own:{name}",
                                       "own_unfolded": f"unfolded:{name}"})
            for number in (1, 2):
                path = directory / "results" / f"{name}-release-{number}.json"
                for entry in read(path)["losses"]:
                    self.add(name, entry, {"release": f"release-{number}"})
        self.failures = []

    def add(self, name, entry, models):
        text = "public" if entry["text"] == "public" else name
        if entry["model"] in models:
            self.losses.setdefault(text, {})[models[entry["model"]]] = entry["log_loss"]

    def perplexities(self):
        models = (["anchor"] + [f"own:{name}" for name in self.names]
                  + ["release-1", "release-2"])
        titles = ["anchor"] + [f"own {name}" for name in self.names] + [
            "release 1", f"release 2 (without {self.leaver})"]
        rows = [["held-out text", *titles]]
        for text in [*self.names, "public"]:
            found = self.losses[text]
            rows.append([text] + [cell(found.get(model), found["anchor"])
                                  for model in models])
        return table(rows)

    def experts(self):
        rows = [["expert", "widths", "parameters", "uploaded"]]
        uploaded = total = 0
        for name in self.names:
            manifest = self.manifest(name)
            tensors = [math.prod(tensor["shape"]) for tensor in manifest["tensors"]]
            size = int(manifest["blob"].rsplit("/", 1)[1])
            widths = sorted({width for width in manifest["widths"] if width})
            layers = sum(1 for width in manifest["widths"] if width)
            rows.append([name, f"{', '.join(map(str, widths))} in {layers} layers",
                         f"{sum(tensors):,}", f"{size / 1e6:.1f} MB"])
            uploaded += size
            total += sum(tensors)
        rows.append(["all", "", f"{total:,}", f"{uploaded / 1e6:.1f} MB"])
        anchor = self.anchor_parameters()
        return (table(rows) + f"\nanchor {anchor:,} parameters; release 1 "
                f"{anchor + total:,} in all")

    def manifest(self, name):
        path = self.directory / "contributors" / name / "egress" / name
        envelope = read(path / "manifest.dsse.json")
        return json.loads(base64.b64decode(envelope["payload"]))["predicate"]

    def anchor_parameters(self):
        path = next((self.directory / "release-2" / "anchor").glob("*.safetensors"))
        with open(path, "rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        return sum(math.prod(value["shape"]) for name, value in header.items()
                   if name != "__metadata__")

    def identical(self):
        return all((self.directory / "release-2" / name).read_bytes()
                   == (self.directory / "fresh-merge" / name).read_bytes()
                   for name in ("release.json", "router.safetensors"))

    def check(self, what, value, low=-math.inf, high=math.inf):
        if low < value < high:
            return
        wanted = f"more than {low}" if low > -math.inf else f"less than {high}"
        self.failures.append(f"{what}: got {value:.4f}, wanted {wanted}")

    def check_all(self, default_anchor):
        public = self.losses["public"]
        for number in (1, 2):
            self.check(f"public text, release {number} - anchor",
                       public[f"release-{number}"] - public["anchor"],
                       high=MOST_PUBLIC_RISE)
        for name in self.names:
            found = self.losses[name]
            own = found[f"own:{name}"]
            least = LEAST_GAIN[name] if default_anchor else 0.0
            self.check(f"{name}, anchor - release 1",
                       found["anchor"] - found["release-1"], low=least)
            self.check(f"{name}, |release 1 - own|", abs(found["release-1"] - own),
                       high=MOST_MERGING_LOSS)
            self.check(f"{name}, |folded - unfolded|",
                       abs(own - found[f"unfolded:{name}"]), high=MOST_FOLDING_LOSS)
            if name == self.leaver:
                self.check(f"{name}, |release 2 - anchor|",
                           abs(found["release-2"] - found["anchor"]),
                           high=MOST_AFTER_OPT_OUT)
            else:
                self.check(f"{name}, release 2 - release 1",
                           found["release-2"] - found["release-1"],
                           high=MOST_CHANGE_OF_OTHERS)
        if not self.identical():
            self.failures.append("release 2 differs from a merge of the survivors")
        return self.failures


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--directory", type=pathlib.Path, required=True)
    parser.add_argument("--leaver", required=True)
    parser.add_argument("--bin", type=pathlib.Path, required=True)
    parser.add_argument("--build-seconds", type=int, default=0)
    parser.add_argument("--federation-seconds", type=int, default=0)
    parser.add_argument("--other-anchor", action="store_true",
                        help="not the default anchor: gains need only be positive")
    arguments = parser.parse_args()
    directory = arguments.directory
    report = Report(directory, arguments.leaver)
    failures = report.check_all(not arguments.other_anchor)

    print("\nPerplexity on held-out text (log-loss difference to the anchor, nats "
          "per token)\n")
    print(report.perplexities())
    print(f"\n{report.experts()}")
    print("\nRelease 2 is byte-identical to a merge that never had "
          f"{arguments.leaver}: {'yes' if report.identical() else 'NO'}")
    print(f"\nInstall and build {arguments.build_seconds} s, texts and federation "
          f"{arguments.federation_seconds} s.")
    print(f"""
Where everything lies, below {directory}:
  coordinator/            database, blobs, keys, releases of the coordinator
  contributors/NAME/      keys, pipeline, egress report, ledger of each data owner
  contributors/{arguments.leaver}/receipts/   signed receipts of the opt-out
  release-2/              release 2 as a reader gets it
  logs/  results/         the coordinator's log, the numbers of this table

Try next:
  {arguments.bin}/tributary-contributor model generate --model {directory}/release-2 --prompt "Der Befehl" --max-tokens 40
  {arguments.bin}/tributary-contributor model inspect --model {directory}/release-2
  {arguments.bin}/tributary-coordinator --home {directory}/coordinator release export latest --as huggingface --output {directory}/release-2-hf
""")
    for failure in failures:
        print(f"THRESHOLD MISSED: {failure}")
    if failures:
        return 1
    print("All thresholds met.")
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
"""A whole federation of real processes on the small anchor.

    federation_test.py --binaries DIR

Three contributors make experts of three widths (the narrowest by a teacher,
pruning and distillation), processes are killed on the way, release 1 holds all
three, one opts out, release 2 equals a merge that never had it.
"""

import signal
import time

import numpy
from safetensors.numpy import load_file, save_file

import federation
from federation import same_bytes

DOMAINS = {"a": ("domain_a", 384, "train"), "b": ("domain_b", 256, "train"),
           "c": ("domain_c", 128, "prune-and-distil")}


class FederationTest(federation.FederationCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.contributors = {name: cls.site(name, *domain) for name, domain in DOMAINS.items()}

    # The steps depend on one another and run in the order of their names.

    def test_1_contribute_with_kills_on_the_way(self):
        killed = self.contributors["a"].start("run", "--once")
        stages = self.contributors["a"].home / "pipeline" / "a"
        federation.wait_for(lambda: list(stages.glob("*/result.json")),
                            what="first stage of contributor a")
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        done = {path: path.stat().st_mtime_ns
                for path in stages.glob("*/result.json")}
        self.contributors["a"]("run", "--once")
        for path, changed in done.items():
            self.assertEqual(path.stat().st_mtime_ns, changed,
                             f"{path} was made again")
        running = self.contributors["b"].start("run", "--once")
        time.sleep(1.0)
        self.coordinator.kill()
        time.sleep(0.5)
        self.coordinator.serve()
        self.assertEqual(running.wait(timeout=240), 0,
                         "a contributor outlives its coordinator's death")
        self.contributors["c"]("run", "--once")
        states = {entry["name"]: entry["state"] for entry in
                  self.coordinator.json("contribution", "list")["contributions"]}
        self.assertEqual(states, {f"contributions/{name}": "ACCEPTED"
                                  for name in DOMAINS})

    def test_2_release_holds_all_three(self):
        self.coordinator("release", "build", "--wait")
        self.contributors["a"]("release", "fetch", "latest", "--output",
                               self.root / "r1")
        verified = self.coordinator.json("release", "verify", self.root / "r1")
        self.assertEqual(verified["unchecked"], [])
        experts = sorted(path.stem for path in
                         (self.root / "r1" / "experts").iterdir())
        self.assertEqual(experts, sorted(DOMAINS))
        for name, contributor in self.contributors.items():
            losses = contributor.json("evaluate", "--release", "latest")
            values = {(entry["text_label"], entry["model"]): entry["log_loss"]
                      for entry in losses["losses"]}
            self.assertLess(values[(name, "own")], values[(name, "anchor")],
                            f"{name} did not improve")
            self.assertTrue(numpy.isfinite(values[(name, "release")]))

    def test_3_reduced_release_is_the_contributors_own_model(self):
        input_ids = numpy.arange(2 * 32, dtype=numpy.int64).reshape(2, 32) * 7 % 2000
        save_file({"input_ids": input_ids}, str(self.root / "ids.safetensors"))
        for name, contributor in self.contributors.items():
            egress = contributor.home / "egress" / name
            merged = self.root / f"only-{name}"
            self.coordinator(
                "release", "merge", "--anchor-dir", self.root / "r1" / "anchor",
                "--contribution",
                f"{egress / 'manifest.dsse.json'}:{egress / 'expert.safetensors'}",
                "--output", merged)
            logits = []
            for label, arguments in (
                    ("merged", ["--model", merged]),
                    ("own", ["--model", self.root / "r1" / "anchor", "--expert",
                             egress / "expert.safetensors"])):
                path = self.root / f"{name}-{label}.safetensors"
                contributor("model", "logits", *arguments, "--input",
                            self.root / "ids.safetensors", "--output", path)
                logits.append(load_file(str(path))["logits"])
            numpy.testing.assert_array_equal(logits[0], logits[1])

    def test_4_opt_out_is_exact_and_proven(self):
        leaver = self.contributors["c"]
        blob = next((self.coordinator.home / "releases" / "1" / "experts").glob("c.*"))
        digest_bytes = blob.read_bytes()
        leaver("withdraw", "--wait")
        receipts = sorted((leaver.home / "receipts").glob("*.json"))
        self.assertEqual(len(receipts), 2)
        for receipt in receipts:
            leaver("withdrawal", "verify", receipt)
            forged = self.root / "forged.json"
            text = receipt.read_text()
            middle = text.index('"payload":"') + 40
            changed = "A" if text[middle] != "A" else "B"
            forged.write_text(text[:middle] + changed + text[middle + 1:])
            with self.assertRaises(federation.CommandFailed):
                leaver("withdrawal", "verify", forged)
        # Not served any more, and no copy of the bytes is left.
        self.contributors["a"]("release", "fetch", "1", "--output",
                               self.root / "gone", want=6)
        for path in self.coordinator.home.rglob("*"):
            if path.is_file():
                self.assertNotEqual(path.read_bytes(), digest_bytes,
                                    f"{path} still holds the expert")
        self.contributors["a"]("release", "fetch", "latest", "--output",
                               self.root / "r2")
        contributions = []
        for name in ("b", "a"):  # any order of arrival
            egress = self.contributors[name].home / "egress" / name
            contributions += ["--contribution",
                              f"{egress / 'manifest.dsse.json'}:"
                              f"{egress / 'expert.safetensors'}"]
        self.coordinator("release", "merge", "--anchor-dir",
                         self.root / "r2" / "anchor", *contributions,
                         "--output", self.root / "fresh")
        for name in ("release.json", "router.safetensors"):
            self.assertTrue(same_bytes(self.root / "r2" / name,
                                       self.root / "fresh" / name), name)

    def test_5_audit_log_verifies(self):
        self.coordinator("audit", "verify")


if __name__ == "__main__":
    federation.main()

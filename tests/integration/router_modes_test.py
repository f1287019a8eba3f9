#!/usr/bin/env python3
"""Every router mode on real processes: a release after an opt-out has the bytes
of one that never had the expert, or nothing is published.

    router_modes_test.py --binaries DIR
"""

from safetensors.torch import load_file

import federation
from federation import configure, same_bytes

MODES = ("discriminant", "trained", "ridge", "tuned")
DOMAINS = {"a": ("domain_a", 256), "b": ("domain_b", 128), "c": ("domain_c", 128)}


class RouterModesTest(federation.FederationCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sites = {name: cls.join(name, *domain) for name, domain in DOMAINS.items()}
        configure(cls.sites["a"].home, "contributor", unfolded_rows="true")
        configure(cls.sites["b"].home, "contributor", router='"trained"')
        for name in ("a", "b"):
            cls.sites[name]("run", "--once")

    @classmethod
    def prepare(cls):
        # Rows from mean activations claim much of the small anchor's public text.
        configure(cls.coordinator.home, "coordinator", max_public_share=1)

    @classmethod
    def join(cls, name, text, width):
        site = cls.site(name, text, width)
        configure(site.home, "contributor", router_statistics="true",
                  allow_router_statistics="true", epochs=1)
        return site

    def build(self, mode, label):
        release = self.coordinator.json("release", "build", "--router", mode, "--wait")
        return self.fetch(release["name"], label)

    def fetch(self, name, label):
        folder = self.root / label
        self.sites["a"]("release", "fetch", name, "--output", folder)
        return folder

    def assert_same(self, first, second):
        for name in ("release.json", "router.safetensors"):
            self.assertTrue(same_bytes(first / name, second / name),
                            f"{name} of {first} and {second}")

    # The steps depend on one another and run in the order of their names.

    def test_1_an_expert_that_left_leaves_no_trace(self):
        never = {mode: self.build(mode, f"never-{mode}") for mode in MODES}
        self.assertTrue(same_bytes(never["discriminant"] / "router.safetensors",
                                   never["trained"] / "router.safetensors"))
        self.assertFalse(same_bytes(never["ridge"] / "router.safetensors",
                                    never["tuned"] / "router.safetensors"))
        leaver = self.sites["c"]
        leaver("run", "--once")
        for mode in MODES:
            self.assertFalse(same_bytes(self.build(mode, f"with-{mode}") / "router.safetensors",
                                        never[mode] / "router.safetensors"), mode)
        statistics = (leaver.home / "egress/c/router_statistics.safetensors").read_bytes()
        leaver("withdraw", "--wait")
        for path in self.coordinator.home.rglob("*"):
            if path.is_file():
                self.assertNotEqual(path.read_bytes(), statistics,
                                    f"{path} still holds statistics of the leaver")
        # The newest release was tuned, so the one that replaces it is, too.
        self.assert_same(self.fetch("latest", "after"), never["tuned"])
        for mode in MODES:
            self.assert_same(self.build(mode, f"after-{mode}"), never[mode])

    def test_2_files_alone_give_the_same_bytes(self):
        contributions, statistics = [], []
        for name in ("b", "a"):
            egress = self.sites[name].home / "egress" / name
            contributions += ["--contribution", f"{egress / 'manifest.dsse.json'}:"
                                                f"{egress / 'expert.safetensors'}"]
            statistics += ["--statistics", f"{name}={egress / 'router_statistics.safetensors'}"]
        anchor = self.root / "never-ridge/anchor"
        for mode in MODES:
            output = self.root / f"files-{mode}"
            self.coordinator("release", "merge", "--anchor-dir", anchor, *contributions,
                             *(statistics if mode == "ridge" else ()), "--router", mode,
                             "--output", output)
            self.assert_same(output, self.root / f"never-{mode}")
        _, err = self.coordinator("release", "merge", "--anchor-dir", anchor, *contributions,
                                  "--router", "ridge", "--output", self.root / "none", want=4)
        self.assertIn("--statistics a=FILE", err)
        # Rows that the coordinator made are nobody's contribution.
        _, err = self.coordinator("release", "merge", "--release", self.root / "never-ridge",
                                  "--router", "discriminant", "--output", self.root / "none",
                                  want=6)
        self.assertIn("made by the coordinator", err)
        self.assertFalse((self.root / "none").exists())

    def test_3_rows_with_a_bias_are_exported_folded(self):
        public, first, second = load_file(
            self.root / "never-discriminant/router.safetensors")["layers.3.router.bias"]
        self.assertEqual(public, 0)
        self.assertLess(first, 0)  # `a` keeps its bias, `b` never had one
        self.assertEqual(second, 0)
        result = self.coordinator.json(
            "release", "export", self.root / "never-discriminant", "--as", "huggingface",
            "--output", self.root / "exported")
        self.assertLess(result["max_logit_difference"], 5e-3)
        rows = load_file(self.root / "never-discriminant/router.safetensors")[
            "layers.3.router.weight"]
        files = sorted((self.root / "exported").glob("*.safetensors"))
        [exported] = [tensor for path in files for name, tensor in load_file(path).items()
                      if ".3." in name and name.endswith("gate.weight")]
        change = (exported.float() - rows).norm(dim=1) / rows.norm(dim=1).clamp(min=1)
        self.assertGreater(change[1], 0.02)  # the bias went into it
        self.assertLess(change[2], 0.01)     # rounded to bf16
        card = (self.root / "exported/README.md").read_text()
        self.assertIn("folded into the rows", card)

    def test_4_statistics_are_for_the_coordinator_alone(self):
        files = [path.name for path in (self.root / "never-ridge").rglob("*")]
        self.assertNotIn("router_statistics.safetensors", files)
        text, _ = self.sites["a"]("egress", "show")
        self.assertIn("router statistics", text)

    def test_5_owners_see_what_the_rows_of_others_do(self):
        report = self.sites["a"].json("evaluate", "--release", "latest")
        rows = report["foreign_rows"]
        self.assertEqual([row["contribution"] for row in rows["rows"]], ["b"])
        self.assertLess(rows["mean_best_logit"], 50)

    def test_6_nothing_leaves_that_the_policy_keeps(self):
        site = self.sites["c"]
        configure(site.home, "contributor", allow_router_statistics="false",
                  contribution='"c2"')
        _, err = site("run", "--once", want=5)
        self.assertIn("allow_router_statistics", err)
        configure(site.home, "contributor", router_statistics="false")
        site("run", "--once")
        before = self.coordinator.json("release", "list")["releases"]
        _, err = self.coordinator("release", "build", "--router", "ridge", want=6)
        self.assertIn("contributions/c2 came without router statistics", err)
        self.assertEqual(self.coordinator.json("release", "list")["releases"], before)
        site("withdraw", "--wait")

    def test_7_no_half_release_becomes_visible(self):
        self.coordinator.stop()
        configure(self.coordinator.home, "coordinator", ridge_max_condition=1.5)
        self.coordinator.serve()
        latest = self.coordinator.json("release", "show", "latest")["name"]
        _, err = self.coordinator("release", "build", "--router", "ridge", "--wait", want=9)
        self.assertIn("condition number", err)
        self.assertEqual(self.coordinator.json("release", "show", "latest")["name"], latest)


class BelowTopKTest(federation.FederationCase):
    @classmethod
    def prepare(cls):
        configure(cls.coordinator.home, "coordinator", top_k=3, max_public_share=1)

    def test_too_few_experts_make_no_release(self):
        site = self.site("a")
        configure(site.home, "contributor", epochs=1)
        site("run", "--once")
        _, err = self.coordinator("release", "build", "--wait", want=9)
        self.assertIn("got 2 experts with the public one, every token chooses 3", err)
        states = [entry["state"] for entry in
                  self.coordinator.json("release", "list")["releases"]]
        self.assertEqual(states, ["FAILED"])
        site("release", "fetch", "latest", "--output", self.root / "none", want=4)
        self.assertFalse((self.root / "none").exists())


if __name__ == "__main__":
    federation.main()

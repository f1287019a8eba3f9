#!/usr/bin/env python3
"""Every router mode on real processes: a release after an opt-out has the bytes
of one that never had the expert.

    router_modes_test.py --binaries DIR
"""

import argparse
import pathlib
import sys
import tempfile
import unittest

import federation
from federation import Contributor, Coordinator, same_bytes

BINARIES = None
MODES = ("discriminant", "trained", "ridge", "tuned")
DOMAINS = {"a": ("domain_a", 256), "b": ("domain_b", 128), "c": ("domain_c", 128)}


def configure(home, name, **values):
    """Sets fields that `init` has written as comments."""
    path = home / f"{name}.textproto"
    text = path.read_text()
    for field, value in values.items():
        lines = [line for line in text.splitlines()
                 if line.lstrip("# ").startswith(f"{field}:")]
        assert len(lines) == 1, f"{field} in {path}: {lines}"
        text = text.replace(lines[0], f"  {field}: {value}")
    path.write_text(text)


class RouterModesTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="router-modes-test-")
        cls.root = pathlib.Path(cls.folder.name)
        cls.coordinator = Coordinator(BINARIES, cls.root / "coordinator")
        cls.coordinator.init()
        # Rows from mean activations claim much of the small anchor's public text.
        configure(cls.coordinator.home, "coordinator", max_public_share=1)
        cls.coordinator.serve()
        cls.coordinator.publish()
        cls.sites = {}
        for name, (text, width) in DOMAINS.items():
            cls.sites[name] = cls.join(name, text, width)
        configure(cls.sites["b"].home, "contributor", router='"trained"')
        for name in ("a", "b"):
            cls.sites[name]("run", "--once")

    @classmethod
    def tearDownClass(cls):
        cls.coordinator.stop()
        cls.folder.cleanup()

    @classmethod
    def join(cls, name, text, width):
        site = Contributor(BINARIES, cls.root / f"site-{name}")
        site.init(cls.coordinator.invite(name), text, width)
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

    def test_an_expert_that_left_leaves_no_trace(self):
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    arguments, rest = parser.parse_known_args()
    BINARIES = arguments.binaries
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2, failfast=True)

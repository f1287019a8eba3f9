#!/usr/bin/env python3
"""Wrong input gets one clear message and a documented exit code, and nothing
is lost.

    bad_input_test.py --binaries DIR
"""

import json
import shutil

import federation
from federation import ANCHOR, TEXT, Contributor, Coordinator, run

INVALID, NOT_FOUND, REFUSED, STATE, UNAVAILABLE = 3, 4, 5, 6, 7


class BadInputTest(federation.FederationCase):
    def assert_error(self, streams, *words):
        _, err = streams
        self.assertIn("error:", err)
        self.assertEqual(err.count("error:"), 1, err)
        for word in words:
            self.assertIn(word, err)

    def test_unknown_configuration_field(self):
        site = self.site("unknown-field")
        config = site.home / "contributor.textproto"
        config.write_text(config.read_text() + "\nsurprise: 1\n")
        self.assert_error(site("run", "--once", want=INVALID), "surprise",
                          "contributor.textproto")
        config = self.coordinator.home / "coordinator.textproto"
        other = self.root / "other-coordinator"
        shutil.copytree(self.coordinator.home, other,
                        ignore=shutil.ignore_patterns("address", "lock", "jobs"))
        copy = other / "coordinator.textproto"
        copy.write_text(config.read_text() + "\nsurprise: 1\n")
        self.assert_error(
            Coordinator(self.binaries, other)("serve", want=INVALID), "surprise")

    def test_two_servers_on_one_home(self):
        self.assert_error(self.coordinator("serve", want=STATE), "another")

    def test_used_and_expired_invitation(self):
        invitation = self.coordinator.invite("used")
        first = Contributor(self.binaries, self.root / "site-used")
        first.init(invitation, "domain_a", 128)
        second = Contributor(self.binaries, self.root / "site-used-again")
        self.assert_error(
            second("init", "--invite", invitation, want=REFUSED), "invitation")
        expired = json.loads(self.coordinator.invite("expired").read_text())
        expired["expire_time_s"] = 1
        expired["expire_time"] = "1970-01-01T00:00:01Z"
        path = self.root / "expired.json"
        path.write_text(json.dumps(expired))
        third = Contributor(self.binaries, self.root / "site-expired")
        self.assert_error(third("init", "--invite", path, want=REFUSED), "expired")

    def test_certificate_of_another_federation(self):
        other = Coordinator(self.binaries, self.root / "foreign-coordinator")
        other.init()
        other.serve()
        try:
            site = Contributor(self.binaries, self.root / "site-foreign")
            site.init(other.invite("foreign"), "domain_a", 128)
        finally:
            other.stop()
        facts_path = site.home / "identity" / "federation.json"
        facts = json.loads(facts_path.read_text())
        facts["address"] = (self.coordinator.home / "address").read_text().strip()
        facts_path.write_text(json.dumps(facts))
        _, err = site("release", "fetch", "latest", "--output", self.root / "x",
                      want=REFUSED)
        self.assertIn("error:", err)
        self.assertIn("federation", err)

    def test_coordinator_that_is_not_there(self):
        site = self.site("nobody-home")
        facts_path = site.home / "identity" / "federation.json"
        facts = json.loads(facts_path.read_text())
        facts["address"] = "127.0.0.1:1"
        facts_path.write_text(json.dumps(facts))
        self.assert_error(site("release", "fetch", "latest", "--output",
                               self.root / "y", want=UNAVAILABLE), "127.0.0.1:1")

    def test_text_that_is_not_utf8(self):
        text = self.root / "latin1.txt"
        text.write_bytes(b"gr\xfcn " * 400)
        site = self.site("not-utf8")
        config = site.home / "contributor.textproto"
        config.write_text(config.read_text().replace(
            str(TEXT / "domain_a.jsonl"), str(text)))
        self.assert_error(site("run", "--once", want=INVALID), "UTF-8", "2")

    def test_altered_and_truncated_safetensors(self):
        for name, damage in (("truncated", lambda data: data[:-1000]),
                             ("altered", lambda data: data[:8] + b"}" + data[9:])):
            model = self.root / f"anchor-{name}"
            shutil.copytree(ANCHOR, model)
            weights = model / "model.safetensors"
            weights.write_bytes(damage(weights.read_bytes()))
            self.assert_error(
                self.coordinator("anchor", "publish", "--name", name, "--model",
                                 model, "--public-text",
                                 f"prose={TEXT}/public_prose.jsonl",
                                 "--public-text",
                                 f"heldout={TEXT}/public_heldout.jsonl",
                                 "--public-text",
                                 f"python={TEXT}/background_python.jsonl",
                                 want=INVALID), "model.safetensors")

    def test_expert_width_that_is_no_multiple_of_the_block(self):
        site = self.site("odd-width")
        config = site.home / "contributor.textproto"
        config.write_text(config.read_text().replace("width: 128", "width: 100"))
        self.assert_error(site("run", "--once", want=INVALID), "100", "128")

    def test_model_that_is_not_there(self):
        _, err = self.coordinator("model", "inspect", "--model",
                                  self.root / "nothing", want=NOT_FOUND)
        self.assertIn("nothing", err)

    def test_json_format_carries_errors_too(self):
        out, _ = self.coordinator("--format", "json", "model", "inspect",
                                  "--model", self.root / "nothing",
                                  want=NOT_FOUND)
        self.assertEqual(json.loads(out)["error"]["exit_code"], NOT_FOUND)

    def test_unknown_option_is_a_usage_error(self):
        run([self.coordinator.program, "--surprise"], want=2)


if __name__ == "__main__":
    federation.main(failfast=False)

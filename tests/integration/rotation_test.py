#!/usr/bin/env python3
"""New keys for a federation of real processes that goes on working.

    rotation_test.py --binaries DIR

Two contributors' daemons run and a third one uploads and fetches all the time
while the server's key is replaced, then the CA: the daemons learn the new CA by
themselves, one of another contributor in the middle of its work too, nothing
that anybody does fails, receipts from before stay valid, and what the old CA
certified is refused afterwards.
"""

import hashlib
import json
import os
import sys
import threading

import federation
from api import Api, Identity, open_envelope, request_id, sign_envelope
from federation import TEXT, Contributor

SIZES = {"a": ("domain_a", 384), "b": ("domain_b", 256)}


class Worker(threading.Thread):
    """Does the same again and again until it is told to stop."""

    def __init__(self, work):
        super().__init__(daemon=True)
        self.work = work
        self.rounds = 0
        self.error = None
        self.stopping = threading.Event()
        self.start()

    def run(self):
        while not self.stopping.is_set() and self.error is None:
            try:
                self.work(self.rounds)
                self.rounds += 1
            except Exception as error:  # told to the test
                self.error = error

    def finish(self):
        self.stopping.set()
        self.join(timeout=120)
        if self.error:
            raise self.error
        return self.rounds


class RotationTest(federation.FederationCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sites = {}
        cls.daemons = {}
        for name, (text, width) in SIZES.items():
            site = cls.site(name, text, width)
            config = site.home / "contributor.textproto"
            config.write_text(config.read_text().replace(
                "\ndata {\n", "\ndata {\n  max_train_windows: 32\n", 1))
            site("run", "--once")
            cls.sites[name] = site
        cls.coordinator("release", "build", "--wait")

    @classmethod
    def tearDownClass(cls):
        for daemon in cls.daemons.values():
            daemon.terminate()
        codes = [daemon.wait(timeout=200) for daemon in cls.daemons.values()]
        assert codes == [0] * len(codes), f"daemons: {codes}"
        super().tearDownClass()

    # The steps depend on one another and run in the order of their names.

    def test_1_what_is_there_before(self):
        leaver = self.sites["b"]
        leaver("withdraw", "--wait")
        type(self).receipts = sorted((leaver.home / "receipts").glob("*.json"))
        self.assertEqual(len(self.receipts), 2)
        self.coordinator("reader", "issue", "--id", "early", "--output",
                         self.root / "early")
        for name, site in self.sites.items():
            self.daemons[name] = site.start("run", "--poll", "0.2s")
        self.start_long_round()
        type(self).before = self.coordinator.json("rotate", "status")
        self.assertEqual(self.before["next_ca_fingerprint"], "")

    def start_long_round(self):
        """A third daemon, whose worker takes until the file "go" is there."""
        site = Contributor(self.binaries, self.root / "site-c")
        site.init(self.coordinator.invite("c"), "domain_a", 128)
        worker = self.root / "slow-worker"
        worker.write_text(
            f"#!/bin/sh\nwhile [ ! -e {self.root}/go ]; do sleep 0.1; done\n"
            f'exec {self.binaries.resolve()}/tributary-contributor-worker "$@"\n')
        worker.chmod(0o755)
        config = site.home / "contributor.textproto"
        config.write_text(config.read_text().replace(
            "\nworker {\n", f'\nworker {{\n  executable: "{worker}"\n', 1))
        self.daemons["c"] = site.start("run", "--poll", "0.2s")
        self.sites["c"] = site
        federation.wait_for((site.home / "pipeline").exists, 60, "its round")

    def upload(self, round_number):
        """A contribution of its own over a new connection, piece by piece."""
        site = self.sites["a"]
        home = site.home
        identity = Identity.of_site(home)
        name = f"more-{round_number}"
        statement = open_envelope(
            (home / "egress/a/manifest.dsse.json").read_bytes())
        size = (home / "egress/a/expert.safetensors").stat().st_size
        data = os.urandom(size)
        digest = hashlib.sha256(data).hexdigest()
        blob = f"blobs/sha256/{digest}/{size}"
        statement["predicate"] |= {"contribution": name, "blob": blob}
        statement["subject"] = [{"name": name, "digest": {"sha256": digest}}]
        address = (self.coordinator.home / "address").read_text().strip()
        with Api(address, identity) as api:
            api.create(sign_envelope(statement, identity.key))
            committed = api.write(name, blob, data, piece=20_000, finish=True)
            assert committed == size, committed
            api.call("ContributionService", "WithdrawContribution",
                     request_id=request_id(), name=f"contributions/{name}")

    def fetch(self, round_number):
        target = self.root / f"fetched-{round_number}"
        self.sites["a"]("release", "fetch", "latest", "--output", target)
        self.coordinator("release", "verify", target)

    def test_2_nobody_notices(self):
        uploads, fetches = Worker(self.upload), Worker(self.fetch)
        state = self.coordinator.json("rotate", "server")
        self.assertNotEqual(state["server_certificate_fingerprint"],
                            self.before["server_certificate_fingerprint"])
        self.assertEqual(state["ca_fingerprint"], self.before["ca_fingerprint"])
        state = self.coordinator.json("rotate", "operator")
        self.assertNotEqual(state["operator_certificate_fingerprint"],
                            self.before["operator_certificate_fingerprint"])

        started = self.coordinator.json("rotate", "ca", "start")
        self.assertTrue(started["next_ca_fingerprint"])
        federation.wait_for(
            lambda: self.coordinator.json("rotate", "status")
            ["waiting_contributors_count"] == 0,
            seconds=400, what="the daemons' renewal")
        finished = self.coordinator.json("rotate", "ca", "finish")
        self.assertEqual(finished["ca_fingerprint"],
                         started["next_ca_fingerprint"])
        done = uploads.rounds, fetches.rounds
        federation.wait_for(
            lambda: uploads.error or fetches.error or
            (uploads.rounds > done[0] + 1 and fetches.rounds > done[1] + 1),
            seconds=120, what="work after the change")
        print(f"{uploads.finish()} uploads and {fetches.finish()} fetches "
              "during the change", file=sys.stderr)
        for daemon in self.daemons.values():
            self.assertIsNone(daemon.poll())

    def test_3_only_the_new_ca_counts(self):
        pem = (self.coordinator.home / "keys/ca.crt.pem").read_text()
        for site in self.sites.values():
            trusted = site.home / "identity/ca.crt.pem"
            federation.wait_for(lambda path=trusted: path.read_text() == pem,
                                seconds=400,
                                what="the old CA's end at the sites")
        for receipt in self.receipts:
            self.sites["b"]("withdrawal", "verify", receipt)
        reader = Contributor(self.binaries, self.root / "early")
        reader("release", "fetch", "latest", "--output", self.root / "r",
               want=5)
        self.coordinator("reader", "issue", "--id", "late", "--output",
                         self.root / "late")
        reader = Contributor(self.binaries, self.root / "late")
        reader("release", "fetch", "latest", "--output", self.root / "r")
        self.coordinator("release", "verify", self.root / "r")
        added = self.root / "r" / "anchor" / "added.txt"
        added.write_text("x")
        self.coordinator("release", "verify", self.root / "r", want=3)

    def test_4_it_is_all_in_the_audit_log(self):
        # Nothing of the third contributor's round was finished meanwhile; what
        # it makes now is sent with what it learned in its middle.
        self.assertFalse(list(self.sites["c"].home.glob("pipeline/*/*/result.json")))
        (self.root / "go").touch()
        # Release 2 holds an expert whose owner has a certificate of the new CA,
        # which the round knew nothing of when it began.
        log = self.root / "site-c" / "background.log"
        federation.wait_for(
            lambda: self.daemons["c"].poll() is not None or
            "nats per token" in log.read_text(),
            seconds=120, what="the third daemon's measurements")
        self.assertIsNone(self.daemons["c"].poll(), log.read_text()[-2000:])
        records = self.coordinator.json("audit", "list")["records"]
        actions = [record["action"] for record in records]
        for action in ("rotate_server_key", "rotate_operator_key",
                       "start_ca_rotation", "finish_ca_rotation"):
            self.assertEqual(actions.count(f"federation.{action}"), 1, action)
        self.assertEqual(actions.count("reader.issue"), 2)
        self.coordinator("audit", "verify")

    def test_5_preflight_tells_the_operator_numbers_only(self):
        report = self.root / "report.json"
        full = self.sites["a"].json("preflight", "--report", report)
        shared = json.loads(report.read_text())
        self.assertEqual(shared, full["shareable"])
        for name in ("up_bytes_per_s", "upload_s", "expert_bytes"):
            self.assertGreater(shared["numbers"][name], 0, name)
        expert = self.sites["a"].home / "egress/a/expert.safetensors"
        self.assertAlmostEqual(shared["numbers"]["expert_bytes"],
                               expert.stat().st_size, delta=20_000)
        self.assertIn(str(TEXT / "domain_a.jsonl"),
                      full["confidential"]["paths"])
        self.assertNotIn("domain_a", report.read_text())

    def test_6_a_site_that_was_off_too_long_is_invited_again(self):
        site = self.sites["b"]
        daemon = self.daemons.pop("b")
        daemon.terminate()
        self.assertEqual(daemon.wait(timeout=200), 0)
        identity = site.home / "identity"
        self.issue_again(identity, days="0")
        ended = "certificate ended at .* `init --invite"
        for command in (("run",), ("release", "list")):
            self.assertRegex(site(*command, want=5)[1], ended)
        # What is on site can still be looked at.
        self.assertRegex(site.json("status")["coordinator_error"], ended)
        site("egress", "show")
        key = (identity / "contributor.key.pem").read_bytes()
        site("init", "--invite", self.coordinator.invite("b"))
        self.assertEqual((identity / "contributor.key.pem").read_bytes(), key)
        site("release", "fetch", "latest", "--output", self.root / "b-again")
        # It is who it was, and has what it had.
        known = site.json("status")["coordinator"]
        self.assertEqual(known["contribution"]["state"], "PURGED")
        for receipt in self.receipts:
            site("withdrawal", "verify", receipt)
        # Ledger, approvals and withdrawals go on with the key that it has.
        federation.configure(site.home, "contributor", contribution='"b2"')
        site("run", "--once")
        site("withdraw", "--wait")
        entries = site.json("egress", "ledger")["entries"]
        self.assertEqual({entry["subject"] for entry in entries
                          if entry["action"] == "egress.upload"},
                         {"contributions/b", "contributions/b2"})

    def issue_again(self, identity, days):
        """Another certificate for the site's key, by the federation's CA."""
        def openssl(*arguments):
            federation.run(["openssl", *arguments])
        ca = self.coordinator.home / "keys"
        request, extensions = self.root / "csr.pem", self.root / "extensions"
        extensions.write_text("subjectAltName=URI:spiffe://test/contributor/b\n"
                              "extendedKeyUsage=clientAuth\n")
        openssl("req", "-new", "-key", identity / "contributor.key.pem",
                "-subj", "/CN=b", "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", ca / "ca.crt.pem",
                "-CAkey", ca / "ca.key.pem", "-days", days, "-set_serial", "77",
                "-extfile", extensions, "-out",
                identity / "contributor.crt.pem")


if __name__ == "__main__":
    federation.main()

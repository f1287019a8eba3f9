#!/usr/bin/env python3
"""A coordinator of real processes is restored from a backup that is older than
what its contributors have seen since; docs/operations.md tells what everybody
does then, and this does it.

    restore_test.py --binaries DIR
"""

import pathlib

from federation import Contributor, FederationCase, main, wait_for

TEXTS = {"early": "domain_a", "leaver": "domain_b", "late": "domain_a",
         "invited": "domain_b", "newcomer": "domain_a"}
INVALID, REFUSED, WRONG_STATE = 3, 5, 6


class RestoreTest(FederationCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.sites = {name: Contributor(cls.binaries, cls.root / f"site-{name}")
                     for name in TEXTS}

    def enrol(self, name, invitation=None):
        self.sites[name].init(
            invitation or self.coordinator.invite(name), TEXTS[name], 128,
            "train", "--max-train-windows", "32")

    def states(self):
        listed = self.coordinator.json("contribution", "list")["contributions"]
        return {item["name"].split("/")[1]: item["state"] for item in listed}

    # The steps depend on one another and run in the order of their names.

    def test_1_backup_and_what_comes_after_it(self):
        for name in ("early", "leaver", "late"):
            self.enrol(name)
        for name in ("early", "leaver"):
            self.sites[name]("run", "--once")
        invitation = self.coordinator.invite("invited")
        self.coordinator("reader", "issue", "--id", "library", "--output",
                         self.root / "library")
        self.coordinator("release", "build", "--wait")
        self.coordinator("backup", "--output", self.root / "backup")

        self.sites["late"]("run", "--once")
        self.coordinator("release", "build", "--wait")
        type(self).copy = self.root / "copy-of-2"
        self.sites["early"]("release", "fetch", "latest", "--output", self.copy)
        self.sites["early"]("run", "--once")  # keeps a newer checkpoint
        self.sites["leaver"]("withdraw", "--wait")
        self.coordinator("reader", "revoke", "library")
        self.enrol("invited", invitation)
        self.enrol("newcomer")
        self.assertEqual(self.states(), {"early": "ACCEPTED", "late": "ACCEPTED",
                                         "leaver": "PURGED"})

    def test_2_restored(self):
        self.coordinator.kill()
        report = self.coordinator.json("restore", self.root / "backup",
                                       "--replace")
        self.assertEqual(report["withdrawn_again"], ["leaver"])
        self.assertEqual(report["revoked_again"], ["readers/library"])
        # 3 was built without the leaver.
        self.assertEqual(report["lost_releases"], ["releases/2", "releases/3"])
        self.coordinator("audit", "verify")
        self.coordinator.serve()
        reader = Contributor(self.binaries, self.root / "library")
        reader("release", "fetch", "latest", "--output", self.root / "r",
               want=REFUSED)

    def stopped(self, name):
        """The file that a site's run names as the proof against the history."""
        _, error = self.sites[name]("run", "--once", want=INVALID)
        self.assertIn("is not the one that it signed before", error)
        kept = pathlib.Path(error.split("kept in ")[1].split(")")[0])
        self.assertTrue(kept.is_file(), error)
        return kept

    def accept_history(self, name, files=1):
        """What a person does once the operator has said why."""
        seen = []
        aside = self.sites[name].home / "before-the-restore"
        aside.mkdir()
        for _ in range(files):
            kept = self.stopped(name)
            seen.append(kept.name)
            kept.rename(aside / kept.name)
        return seen

    def test_3_the_one_who_had_contributed_before_goes_on(self):
        self.assertEqual(self.accept_history("early"),
                         ["audit_checkpoint.dsse.json"])
        self.sites["early"]("run", "--once")
        # Nobody could tell any more who opts out of this copy. The backup's own
        # release holds the leaver; the withdrawal makes one of those who stay.
        wait_for(lambda: [item for item in
                          self.coordinator.json("release", "list")["releases"]
                          if item["state"] == "PUBLISHED"],
                 seconds=200, what="the release without the leaver")
        target = self.root / "next"
        self.sites["early"]("release", "fetch", "latest", "--output", target)
        self.assertEqual([path.name for path in (target / "experts").iterdir()],
                         ["early.safetensors"])
        self.assertTrue((self.copy / "WITHDRAWN").is_file())

    def test_4_who_came_after_the_backup_sends_again(self):
        self.accept_history("late")
        self.sites["late"]("run", "--once")
        self.assertEqual(self.states()["late"], "ACCEPTED")
        # The coordinator knows the invitation and not the certificate; this
        # site has seen no history yet.
        self.sites["invited"]("run", "--once")
        self.assertEqual(self.states()["invited"], "ACCEPTED")
        # It has never heard of this one.
        site = self.sites["newcomer"]
        _, error = site("run", "--once", want=REFUSED)
        self.assertIn("enrol with an invitation", error)
        self.enrol("newcomer")
        site("run", "--once")
        self.assertEqual(self.states()["newcomer"], "ACCEPTED")

    def test_5_an_opt_out_stays_one(self):
        self.assertCountEqual(self.accept_history("leaver", files=2),
                              ["leaver.withdrawal.dsse.json",
                               "leaver.purge.dsse.json"])
        site = self.sites["leaver"]
        site("run", "--once", want=WRONG_STATE)
        for receipt in (site.home / "before-the-restore").glob("leaver.*"):
            site("withdrawal", "verify", receipt)
        site("withdraw", "--wait")
        for receipt in (site.home / "receipts").glob("*.json"):
            site("withdrawal", "verify", receipt)
        self.assertEqual(self.states()["leaver"], "PURGED")

    def test_6_numbers_are_not_given_twice(self):
        self.coordinator("release", "build", "--wait")
        releases = self.coordinator.json("release", "list")["releases"]
        states = {item["name"]: item["state"] for item in releases}
        self.assertEqual(states["releases/2"], "WITHDRAWN")
        latest = max(states, key=lambda name: int(name.split("/")[1]))
        self.assertEqual(states[latest], "PUBLISHED")
        target = self.root / "last"
        self.sites["late"]("release", "fetch", "latest", "--output", target)
        self.coordinator("release", "verify", target)
        self.assertFalse((target / "experts/leaver.safetensors").exists())
        self.coordinator("audit", "verify", "--content")


if __name__ == "__main__":
    main()

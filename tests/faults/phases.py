"""The phases of a contribution's life that faults meet. Each one is started,
struck in the middle, driven to its end and checked."""

import json
import shutil


from world import NEWCOMER, RETRY, federation

OK, INVALID, NOT_FOUND, REFUSED, STATE, UNAVAILABLE, FULL, REJECTED = (
    0, 3, 4, 5, 6, 7, 8, 9)


class Phase:
    """One phase. `subject` is the contribution that it is about."""

    name = ""
    snapshot = "published"
    subject = "c"
    actor = "c"        # whose command it is; "operator" for the coordinator's
    window_s = 0.3     # how long the interesting part takes, roughly
    request = None     # (service, method, fields) for repeated requests
    uses_worker = False

    def prepare(self, world):
        """Before the server starts."""

    def begin(self, world):
        """With the server running, before the fault is set up."""

    def start(self, world):
        """Starts the work; returns the process."""

    def underway(self, world):
        """Whether the interesting part has begun."""
        return True

    def drive(self, world):
        """One attempt to finish; returns the exit code."""
        return self.start(world).wait(90)

    def done(self, world):
        """Whether the phase has reached its end."""

    def members(self):
        """Accepted contributions at the end."""
        return {"a", "b", "c"}

    def check(self, world):
        """What must hold at the end."""


class Enrol(Phase):
    name = "enrol"
    snapshot = "fresh"
    actor = NEWCOMER
    window_s = 0.12

    def begin(self, world):
        path = world.root / f"{NEWCOMER}.invitation.json"
        value = json.loads(path.read_text())
        value["address"] = world.proxy.address
        path.write_text(json.dumps(value))

    def start(self, world):
        return world.start(
            world.sites[NEWCOMER], "init", "--invite",
            world.root / f"{NEWCOMER}.invitation.json", "--train",
            federation.TEXT / "domain_a.jsonl", "--width", 128,
            "--retry-for", RETRY)

    def done(self, world):
        return (world.sites[NEWCOMER].home / "contributor.textproto").exists()

    def members(self):
        return set()

    def check(self, world):
        rows = world.query("SELECT state FROM contributors WHERE id = ?",
                           NEWCOMER)
        assert rows == [("ENROLLED",)], rows
        with world.api(NEWCOMER) as api:
            api.call("AnchorService", "GetAnchor", name="anchors/current")


class Download(Phase):
    name = "download"
    window_s = 0.15

    def prepare(self, world):
        # Anchor and experts, all over the wire.
        shutil.rmtree(world.sites["c"].home / "cache" / "blobs")

    def start(self, world):
        return world.start(world.sites["c"], "release", "fetch", "latest",
                           "--output", world.root / "fetched",
                           "--retry-for", RETRY)

    def done(self, world):
        return (world.root / "fetched" / "release.dsse.json").exists()

    def check(self, world):
        assert world.run(world.coordinator, "release", "verify",
                         world.root / "fetched") == 0
        for name in ("a", "b"):
            got = world.root / "fetched" / "experts" / f"{name}.safetensors"
            assert got.read_bytes() == world.expert(name)[1], name


class Upload(Phase):
    name = "upload"
    snapshot = "accepted"
    window_s = 0.12

    def begin(self, world):
        # Something is there already, up to a random byte.
        size = len(world.expert("c")[1])
        if world.random.random() < 0.7:
            world.upload_prefix("c", world.random.randrange(1, size))
        self.watch = world.watch_committed("c")

    def start(self, world):
        return world.start(world.sites["c"], "submit", "--retry-for", RETRY)

    def done(self, world):
        return world.state("c") == "ACCEPTED"

    def drive(self, world):
        code = self.start(world).wait(90)
        return code or world.run(world.sites["c"], "run", "--once",
                                 "--retry-for", RETRY)

    def check(self, world):
        seen = self.watch.end()
        if not world.restored and not world.meddled:
            falls = [pair for pair in zip(seen, seen[1:]) if pair[1] < pair[0]]
            assert not falls, f"committed_size fell: {falls}"


class Finish(Upload):
    name = "finish"
    window_s = 0.06

    def begin(self, world):
        size = len(world.expert("c")[1])
        world.upload_prefix("c", size - world.random.choice([1, 100, 9000]))
        self.watch = world.watch_committed("c")


class Submit(Upload):
    name = "submit"
    window_s = 0.05

    def begin(self, world):
        world.upload_prefix("c", len(world.expert("c")[1]))
        self.watch = world.watch_committed("c")
        self.request = ("ContributionService", "SubmitContribution",
                        {"name": "contributions/c"})


class Validate(Submit):
    name = "validate"
    window_s = 0.25
    uses_worker = True

    def begin(self, world):
        world.upload_prefix("c", len(world.expert("c")[1]))
        self.watch = world.watch_committed("c")

    def start(self, world):
        return world.start(world.sites["c"], "run", "--once",
                           "--retry-for", RETRY)

    def underway(self, world):
        return world.state("c") in ("VALIDATING", "ACCEPTED", "REJECTED")


class Accept(Phase):
    name = "accept"
    snapshot = "quarantined"
    actor = "operator"
    window_s = 0.06
    request = ("AdminService", "DecideContribution",
               {"name": "contributions/c", "outcome": 1})

    def start(self, world):
        return world.start(world.coordinator, "contribution", "accept", "c")

    def done(self, world):
        return world.state("c") == "ACCEPTED"


class Merge(Phase):
    name = "merge"
    actor = "operator"
    window_s = 0.12
    request = ("AdminService", "BuildRelease", {})
    uses_worker = True

    def start(self, world):
        return world.start(world.coordinator, "release", "build", "--wait")

    def underway(self, world):
        return bool(world.query("SELECT 1 FROM releases WHERE number > 1"))

    def done(self, world):
        return bool(world.query(
            "SELECT 1 FROM releases WHERE number > 1 AND state = 'PUBLISHED'"))

    def drive(self, world):
        # A build that was queued goes on by itself.
        world.wait_idle()
        return OK if self.done(world) else self.start(world).wait(90)


class Publish(Merge):
    name = "publish"
    window_s = 0.35

    def underway(self, world):
        # The merged files are placed; the worker measures them.
        return (world.coordinator.home / "releases" / "2").exists()


class Withdraw(Phase):
    name = "withdraw"
    subject = actor = "b"
    window_s = 0.08
    request = ("ContributionService", "WithdrawContribution",
               {"name": "contributions/b"})

    def start(self, world):
        return world.start(world.sites["b"], "withdraw", "--wait",
                           "--retry-for", RETRY)

    def done(self, world):
        return world.state("b") == "PURGED"

    def members(self):
        return {"a", "c"}

    def check(self, world):
        receipts = sorted((world.sites["b"].home / "receipts").glob("*"))
        assert len(receipts) == 2, receipts
        for receipt in receipts:
            assert world.run(world.sites["b"], "withdrawal", "verify",
                             receipt) == 0
        bytes_of_b = world.expert("b")[1]
        for path in world.coordinator.home.rglob("*"):
            if path.is_file() and path.stat().st_size == len(bytes_of_b):
                assert path.read_bytes() != bytes_of_b, f"{path} is the expert"
        # The replacement equals a merge that never had it.
        state = world.query("SELECT state FROM releases WHERE number = 1")
        assert state == [("WITHDRAWN",)], state
        served = world.query("SELECT number FROM releases "
                             "WHERE state = 'PUBLISHED'")
        assert len(served) == 1, served


class Purge(Withdraw):
    name = "purge"
    window_s = 0.5
    uses_worker = True

    def underway(self, world):
        return world.state("b") in ("WITHDRAWN", "PURGED")


PHASES = [Enrol, Download, Upload, Finish, Submit, Validate, Accept, Merge,
          Publish, Withdraw, Purge]

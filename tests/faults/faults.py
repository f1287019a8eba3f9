"""Faults of network, processes, disks and clocks. Each is set up before the
work starts, strikes in the middle of it and is healed. faults_of_trust.py has
those of identities and requests."""

import hashlib
import os
import pathlib
import shutil
import subprocess
import time

from phases import FULL, INVALID, OK, UNAVAILABLE

FAKETIME = pathlib.Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")


class Fault:
    name = ""
    only = None      # names of phases it can meet; None: all
    must_end = True  # whether the phase reaches its end after healing

    def prepare(self, world, phase):
        """Before the server starts."""

    def arm(self, world, phase):
        """With the server running, before the work starts."""

    def strike(self, world, phase, process):
        """In the middle."""

    def heal(self, world, phase, process):
        """After the strike; the work may still run."""

    def judge(self, world, phase, code):
        """Checks the exit code of the work that was struck."""

    def settle(self, world, phase):
        """After the phase was driven to its end."""


class ContributorKilled(Fault):
    name = "contributor killed"

    def strike(self, world, phase, process):
        process.kill()


class CoordinatorKilled(Fault):
    name = "coordinator kill -9"

    def strike(self, world, phase, process):
        world.coordinator.kill()
        time.sleep(world.random.random() * 0.3)
        world.serve()
        if world.random.random() < 0.3:
            time.sleep(world.random.random() * 0.2)
            world.coordinator.kill()
            world.serve()


class ConnectionReset(Fault):
    name = "TCP reset"

    def strike(self, world, phase, process):
        for _ in range(world.random.randint(1, 3)):
            world.proxy.reset()
            time.sleep(world.random.random() * 0.1)


class HalfOpen(Fault):
    """A site loses its power: the coordinator's side of the connection stays
    open, and nothing ever comes."""

    name = "half-open connection"

    def strike(self, world, phase, process):
        world.proxy.freeze()
        process.kill()


class CoordinatorVanishes(Fault):
    """The other way round: the site must find out by itself."""

    name = "half-open, seen by the site"

    def strike(self, world, phase, process):
        world.proxy.freeze()


class SlowPeer(Fault):
    name = "slow reader and writer"

    def arm(self, world, phase):
        # A fresh download is 3 MB, an upload 0.2 MB.
        bulk = 20 if phase.name == "download" else 1
        world.proxy.rate = bulk * world.random.randint(60_000, 200_000)

    def heal(self, world, phase, process):
        process.wait(90)
        world.proxy.heal()


class LatencyAndLoss(Fault):
    name = "100 ms latency, 1 % loss"

    def arm(self, world, phase):
        if world.netem:
            world.netem.arm()
        else:
            world.proxy.delay, world.proxy.loss = 0.05, 0.01

    def heal(self, world, phase, process):
        process.wait(90)
        world.proxy.heal()
        if world.netem:
            world.netem.heal()


class DiskFull(Fault):
    name = "disk full"

    def prepare(self, world, phase):
        home = world.coordinator.home
        aside = world.root / "aside"
        home.rename(aside)
        home.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m,mode=700",
                        "tmpfs", home], check=True)
        world.mounts.append(home)
        shutil.copytree(aside, home, dirs_exist_ok=True)
        shutil.rmtree(aside)
        self.early = world.random.random() < 0.5

    def fill(self, world):
        spare = world.random.choice([0, 4096, 50_000, 150_000])
        self.ballast = world.coordinator.home / "ballast"
        with open(self.ballast, "wb", buffering=0) as out:
            try:
                while out.write(b"\0" * 4096) == 4096:
                    pass
            except OSError:
                pass
            out.truncate(max(0, out.tell() - spare))

    def arm(self, world, phase):
        if self.early:
            self.fill(world)

    def strike(self, world, phase, process):
        if not self.early:
            self.fill(world)

    def heal(self, world, phase, process):
        time.sleep(world.random.random() * 0.8)
        self.ballast.unlink()


class QuotaHit(Fault):
    name = "quota hit"

    def arm(self, world, phase):
        self.low_disk = phase.name != "upload" or world.random.random() < 0.5
        # What was registered before may go on; nothing new is taken.
        self.registered = world.state("c") is not None
        if self.low_disk:
            world.set_fields("quotas", min_free_disk_bytes=1 << 60)
        else:
            world.set_fields("quotas", max_bytes=1000)
        world.restart()

    def judge(self, world, phase, code):
        refused = (phase.name in ("upload", "finish") if self.low_disk
                   else not self.registered)
        wanted = FULL if refused else OK
        assert code == wanted, f"exit code {code}, wanted {wanted}"

    def heal(self, world, phase, process):
        process.wait(90)
        world.set_fields("quotas", min_free_disk_bytes=1, max_bytes=1 << 30)
        world.restart()


class FlippedInTransit(Fault):
    name = "flipped byte in transit"

    def arm(self, world, phase):
        reach = {"download": 3_000_000, "upload": 200_000}.get(phase.name, 6000)
        world.proxy.flip_after = world.random.randrange(reach)

    def heal(self, world, phase, process):
        process.wait(90)
        world.proxy.heal()


class FlippedAtRest(Fault):
    """One bit of a stored file turns over. What is on its way is sent anew;
    for what is accepted an intact copy comes back, as from a backup."""

    name = "flipped byte at rest"
    only = {"download", "upload", "finish", "submit", "validate", "merge",
            "publish", "withdraw", "purge"}

    def arm(self, world, phase):
        self.partial = phase.name in ("upload", "finish")
        if self.partial:
            uploads = [path for path in
                       (world.coordinator.home / "uploads").iterdir()
                       if path.stat().st_size]
            self.path = uploads[0] if uploads else None
        else:
            name = {"submit": "c", "validate": "c"}.get(phase.name, "a")
            digest = world.expert(name)[0].split("/")[2]
            self.path = (world.coordinator.home / "blobs/sha256" /
                         digest[:2] / digest)
        if self.path is None:
            return
        self.flip(world.random)

    def flip(self, random):
        data = bytearray(self.path.read_bytes())
        self.at = random.randrange(len(data))
        self.bit = 1 << random.randrange(8)
        self.turn()

    def turn(self):
        mode = self.path.stat().st_mode
        self.path.chmod(0o600)
        with open(self.path, "r+b") as file:
            file.seek(self.at)
            old = file.read(1)[0]
            file.seek(self.at)
            file.write(bytes([old ^ self.bit]))
        self.path.chmod(mode & 0o777)

    def intact(self):
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()
        return digest == self.path.name

    def heal(self, world, phase, process):
        if self.path is None:
            return
        process.wait(90)
        if phase.name in ("upload", "finish", "submit", "validate"):
            world.meddled.add(self.path)
            return
        self.during = dict(world.query("SELECT number, state FROM releases"))
        self.turn()
        if phase.name in ("withdraw", "purge"):
            # The opt-out went on without a new release; now it can be made.
            assert world.run(world.coordinator, "release", "build",
                             "--wait") == OK

    def judge(self, world, phase, code):
        if self.path is None:
            assert code == OK, f"exit code {code}"
        elif self.partial:
            # Hashing goes on from a saved state: unless the bytes had to be
            # read again, admission finds the damage.
            assert code in (OK, INVALID), f"exit code {code}"
        elif phase.name == "download":
            assert code == INVALID, f"a damaged file was taken: {code}"
        elif phase.name in ("merge", "publish", "withdraw", "purge"):
            assert self.during.get(2) != "PUBLISHED", \
                "a release of damaged bytes was published"
        elif phase.name in ("submit", "validate"):
            # Sent again by then, maybe.
            assert world.state("c") != "ACCEPTED" or self.intact(), \
                "damaged bytes were accepted"


class BackupRestored(Fault):
    name = "database restored from backup"

    def arm(self, world, phase):
        self.copy = world.root / "backup"
        assert world.run(world.coordinator, "backup", "--output",
                         self.copy) == 0

    def strike(self, world, phase, process):
        home = world.coordinator.home
        world.coordinator.kill()
        shutil.rmtree(home)
        shutil.copytree(self.copy, home)
        world.restored = True
        world.accepted_once = None
        for site in world.sites.values():
            # The history went back; its owner is told and agrees.
            (site.home / "audit_checkpoint.dsse.json").unlink(missing_ok=True)
            # Its receipts are of the history that is gone.
            for receipt in (site.home / "receipts").glob("*"):
                receipt.unlink()
        world.serve()

    def heal(self, world, phase, process):
        process.wait(90)
        for site in world.sites.values():
            (site.home / "audit_checkpoint.dsse.json").unlink(missing_ok=True)
        known = world.query("SELECT state FROM contributors WHERE id = ?", "d")
        if phase.name == "enrol" and known != [("ENROLLED",)]:
            # The coordinator forgot the enrolment; the invitation is as new.
            shutil.rmtree(world.sites["d"].home, ignore_errors=True)
        if phase.name == "download":
            shutil.rmtree(world.root / "fetched", ignore_errors=True)


class ClockSkew(Fault):
    name = "clock skew"

    def arm(self, world, phase):
        hours = world.random.choice([-26, -1, 1, 26])
        faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME": f"{hours:+d}h",
                 "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        # A coordinator whose clock is wrong issues certificates that right
        # clocks refuse, so enrolment meets the site's clock only.
        if world.random.random() < 0.5 or phase.name == "enrol":
            world.clients_environment = faked
        else:
            world.server_environment = {**os.environ, **faked}
            world.restart()

    def judge(self, world, phase, code):
        assert code in (OK, 5, UNAVAILABLE), f"exit code {code}"

    def heal(self, world, phase, process):
        process.wait(90)
        world.clients_environment = world.server_environment = None
        world.restart()


class WorkerFault(Fault):
    only = {"validate", "merge", "publish", "withdraw", "purge"}
    mode = ""
    limits = {}

    def prepare(self, world, phase):
        world.worker.install(self.mode, **self.limits)

    def settle(self, world, phase):
        assert world.worker.struck(), "the worker never failed"


class WorkerCrash(WorkerFault):
    name = "worker crash"

    def prepare(self, world, phase):
        self.mode = world.random.choice(["crash", "late-crash"])
        super().prepare(world, phase)


class WorkerHang(WorkerFault):
    name = "worker hang"
    mode = "hang"
    limits = {"stall_limit_s": 6}


class WorkerMemory(WorkerFault):
    name = "worker over memory"
    mode = "memory"

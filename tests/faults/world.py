"""The federation of one scenario: copied from a snapshot, with a proxy between
contributors and coordinator, and everything that a fault needs to reach."""

import hashlib
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent /
                       "integration"))

import federation  # noqa: E402
from api import (Api, Identity, open_envelope, openssl,  # noqa: E402,F401
                 request_id)
from federation import TEXT, Contributor, Coordinator  # noqa: E402
from proxy import Proxy  # noqa: E402

SITES = {"a": "domain_a", "b": "domain_b", "c": "domain_c"}
WIDTH = 128
NEWCOMER = "d"
RETRY = "20s"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def set_fields(config, block, **fields):
    """Sets fields of a block of coordinator.textproto."""
    text = config.read_text()
    lines = "".join(f"  {name}: {value}\n" for name, value in fields.items())
    kept = [line for line in text.splitlines(keepends=True)
            if line.split(":")[0].strip() not in fields]
    text = "".join(kept)
    assert f"\n{block} {{\n" in text, f"no block {block} in {config}"
    config.write_text(text.replace(f"\n{block} {{\n",
                                   f"\n{block} {{\n{lines}", 1))


class World:
    def __init__(self, binaries, snapshot, root, random):
        self.binaries = binaries
        self.root = root
        self.random = random
        self.mounts = []
        self.processes = []
        self.clients_environment = None
        self.server_environment = None
        self.refused_before = set()
        self.accepted_once = set()
        self.restored = False
        self.meddled = set()  # files that the fault itself altered
        if not root.exists():
            shutil.copytree(snapshot, root)
        self.coordinator = Coordinator(binaries, root / "coordinator")
        config = self.coordinator.home / "coordinator.textproto"
        text = config.read_text()
        lines = ['listen_address: "127.0.0.1:0"\n'
                 if line.startswith("listen_address") else line
                 for line in text.splitlines(keepends=True)]
        config.write_text("".join(lines))
        self.config = config
        self.proxy = None
        self.worker = WorkerSwitch(self)
        self.netem = None
        self.sites = {name: Contributor(binaries, root / f"site-{name}")
                      for name in [*SITES, NEWCOMER]}

    # Processes.

    def serve(self):
        self.coordinator.environment = self.server_environment
        self.coordinator.serve()
        address = (self.coordinator.home / "address").read_text().strip()
        self.direct = address
        if self.proxy is None:
            self.proxy = Proxy(address, self.random.randrange(1 << 30))
            for site in self.sites.values():
                facts = site.home / "identity" / "federation.json"
                if facts.exists():
                    value = json.loads(facts.read_text())
                    value["address"] = self.proxy.address
                    facts.write_text(json.dumps(value, indent=2))
        # Operators' commands find the server here.
        (self.coordinator.home / "address").write_text(self.proxy.address)

    def set_fields(self, block, **fields):
        set_fields(self.config, block, **fields)

    def restart(self):
        code = self.coordinator.stop()
        assert code == 0, f"the coordinator ended with {code} on SIGTERM"
        self.serve()

    def start(self, owner, *arguments):
        """Runs a command of a site or of the coordinator in the background."""
        log = open(self.root / "commands.log", "ab")
        log.write(f"--- {' '.join(str(part) for part in arguments)}\n".encode())
        log.flush()
        environment = dict(os.environ)
        if isinstance(owner, Contributor):
            environment.update(self.clients_environment or {})
        with log:
            process = subprocess.Popen(
                [str(owner.program), "--home", str(owner.home),
                 *[str(part) for part in arguments]],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=environment)
        self.processes.append(process)
        return process

    def run(self, owner, *arguments, timeout=90):
        """The exit code of a command."""
        return self.start(owner, *arguments).wait(timeout)

    def api(self, who="c", through_proxy=False):
        identity = (Identity.of_operator(self.coordinator.home)
                    if who == "operator" else
                    Identity.of_site(self.sites[who].home))
        address = self.proxy.address if through_proxy else self.direct
        return Api(address, identity)

    def operator(self, service, method, **fields):
        with self.api("operator") as api:
            return api.call(service, method, **fields)

    # What the database says. Short reads that wait for writers.

    def query(self, sql, *values):
        path = self.coordinator.home / "state.sqlite"
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()

    def state(self, contribution):
        rows = self.query("SELECT state FROM contributions WHERE id = ?",
                          contribution)
        return rows[0][0] if rows else None

    def accepted(self):
        return {row[0] for row in self.query(
            "SELECT id FROM contributions WHERE state = 'ACCEPTED'")}

    def jobs(self):
        return self.query("SELECT kind, subject, state FROM jobs")

    def wait_idle(self, seconds=60):
        federation.wait_for(lambda: not self.jobs(), seconds,
                            f"jobs to end, now {self.jobs()}")

    def log(self):
        parts = []
        for name in ("commands.log", "coordinator/serve.log"):
            path = self.root / name
            if path.exists():
                parts.append(f"--- {name}\n{path.read_text()[-3000:]}")
        return "\n".join(parts)

    def close(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        if self.coordinator.process and self.coordinator.process.poll() is None:
            self.coordinator.kill()
        if self.proxy:
            self.proxy.close()
        for mount in self.mounts:
            subprocess.run(["umount", mount], check=True)
        shutil.rmtree(self.root, ignore_errors=True)

    def expert(self, name):
        """(blob name, bytes, envelope) of a site's approved contribution."""
        folder = self.sites[name].home / "egress" / name
        data = (folder / "expert.safetensors").read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        return (f"blobs/sha256/{digest}/{len(data)}", data,
                (folder / "manifest.dsse.json").read_bytes())

    def upload_prefix(self, name, size):
        """Leaves `size` durable bytes of the expert on the coordinator."""
        blob, data, envelope = self.expert(name)
        with self.api(name) as api:
            api.create(envelope)
            if size:
                piece = self.random.choice([1000, 17_000, 64 << 10, 1 << 20])
                got = api.write(name, blob, data[:size], piece=piece,
                                finish=size == len(data))
                assert got == size, f"committed_size {got}, sent {size}"

    def watch_committed(self, name):
        return CommittedWatch(self, name)


class CommittedWatch:
    """Asks the coordinator for committed_size all the time."""

    def __init__(self, world, name):
        self.world = world
        self.name = name
        self.blob = world.expert(name)[0]
        self.seen = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self):
        with self.world.api(self.name) as api:
            while not self.stop.is_set():
                try:
                    answer = api.committed(self.name, self.blob, timeout=1)
                    self.seen.append(answer.committed_size)
                except Exception:  # killed, or nothing uploaded yet
                    pass
                time.sleep(0.01)

    def end(self):
        self.stop.set()
        self.thread.join()
        return self.seen


class WorkerSwitch:
    """A worker executable in front of the real one that fails on request."""

    def __init__(self, world):
        self.world = world
        self.path = world.root / "worker.sh"
        self.mode = world.root / "worker.mode"

    def install(self, mode, **limits):
        """The next run fails in this way, the ones after it are good."""
        real = self.world.binaries / "tributary-coordinator-worker"
        self.mode.write_text(mode)
        self.path.write_text(f"""#!/bin/bash
mode=$(cat {self.mode})
echo good > {self.mode}
case $mode in
  crash) kill -SEGV $$ ;;
  memory) ulimit -v 262144; exec {real} "$@" ;;
  hang) exec sleep 600 ;;
  late-crash) {real} "$@" & sleep 0.15; kill -ABRT $!; exit 134 ;;
esac
exec {real} "$@"
""")
        self.path.chmod(0o755)
        set_fields(self.world.config, "worker",
                   executable=f'"{self.path}"', **limits)

    def struck(self):
        return self.mode.read_text().strip() == "good"


def build_snapshots(binaries, root):
    """Homes to start scenarios from, by name."""
    coordinator = Coordinator(binaries, root / "work" / "coordinator")
    try:
        return make_snapshots(binaries, root, coordinator)
    finally:
        coordinator.stop()


def make_snapshots(binaries, root, coordinator):
    home = root / "work"
    coordinator.init()
    config = coordinator.home / "coordinator.textproto"
    # Small disks are part of the scenarios.
    set_fields(config, "quotas", min_free_disk_bytes=1)
    coordinator.serve()
    coordinator.publish()
    sites = {}
    for name, text in SITES.items():
        sites[name] = Contributor(binaries, home / f"site-{name}")
        sites[name].init(coordinator.invite(name), text, WIDTH)
        # What the expert knows does not matter here.
        set_fields(sites[name].home / "contributor.textproto", "data",
                   max_train_windows=32)
        sites[name]("export")
    coordinator.invite(NEWCOMER)
    snapshots = {}

    def keep(name):
        assert coordinator.stop() == 0
        snapshots[name] = root / name
        shutil.copytree(home, root / name)

    keep("fresh")
    coordinator.serve()
    for name in ("a", "b"):
        sites[name]("run", "--once")
    keep("accepted")
    plain = config.read_text()
    set_fields(config, "admission", require_operator="true")
    coordinator.serve()
    coordinator("release", "build", "--wait")
    sites["a"]("release", "fetch", "latest", "--output", root / "reference")
    sites["c"]("run", "--once", want=6)
    keep("quarantined")
    config.write_text(plain)
    coordinator.serve()
    coordinator("contribution", "accept", "c")
    keep("published")
    return snapshots


def merged_digest(binaries, root, members):
    """The digest that a release of these experts must have: an offline merge
    of the contributors' own files."""
    target = root / ("merged-" + "-".join(sorted(members)))
    if not target.exists():
        arguments = []
        for name in members:
            folder = root / "fresh" / f"site-{name}" / "egress" / name
            arguments += ["--contribution", f"{folder / 'manifest.dsse.json'}:"
                                            f"{folder / 'expert.safetensors'}"]
        federation.run([binaries / "tributary-coordinator", "release", "merge",
                        "--anchor-dir", root / "reference" / "anchor", *arguments,
                        "--output", target])
    return sha256(target / "release.json")

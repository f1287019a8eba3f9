"""A federation of real processes for tests: coordinator and contributors in
temporary homes, on loopback, with the small anchor of tests/fixtures."""

import argparse
import fcntl
import json
import pathlib
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures"
ANCHOR = FIXTURES / "tiny_anchor"
TEXT = FIXTURES / "text"


_PORT_LOCKS = []


def reserve_port():
    """A loopback port that stays free while its server is down: not one of
    those that the system gives to outgoing connections, and locked against
    other tests until this process ends."""
    folder = pathlib.Path(tempfile.gettempdir()) / "tributary-test-ports"
    folder.mkdir(exist_ok=True)
    lowest = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range")
                 .read_text().split()[0])
    for port in random.SystemRandom().sample(range(lowest - 12000, lowest), 200):
        lock = open(folder / str(port), "ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("127.0.0.1", port))
        except OSError:
            lock.close()
            continue
        _PORT_LOCKS.append(lock)
        return port
    raise AssertionError("no free loopback port")


class CommandFailed(AssertionError):
    """A command ended with another exit code than wanted."""


def run(command, want=0, timeout=240):
    """Runs a command, checks its exit code, returns (stdout, stderr)."""
    done = subprocess.run([str(part) for part in command], text=True,
                          capture_output=True, timeout=timeout,
                          stdin=subprocess.DEVNULL, check=False)
    if done.returncode != want:
        raise CommandFailed(
            f"{' '.join(str(part) for part in command)}\n"
            f"exit code {done.returncode}, wanted {want}\n"
            f"--- stdout\n{done.stdout[-4000:]}\n--- stderr\n{done.stderr[-4000:]}")
    return done.stdout, done.stderr


class Coordinator:
    def __init__(self, binaries, home):
        self.program = binaries / "tributary-coordinator"
        self.home = home
        self.process = None
        self.environment = None  # of the server; None: this process's

    def __call__(self, *arguments, want=0, timeout=240):
        return run([self.program, "--home", self.home, *arguments], want, timeout)

    def json(self, *arguments, **options):
        out, _ = self("--format", "json", *arguments, **options)
        return json.loads(out)

    def init(self):
        self("init", "--federation", "test", "--listen", "127.0.0.1:0",
             "--first-layer", "2")
        config = self.home / "coordinator.textproto"
        text = config.read_text()
        # Small windows for a small anchor; the same key as `init` wrote.
        assert "first_layer: 2" in text, text
        text = text.replace(
            "first_layer: 2",
            "first_layer: 2\n  window_tokens: 64\n  windows_per_class: 8\n"
            "  heldout_windows: 8")
        # The small anchor does not tell domains apart: public text suffers,
        # and experts differ from its feed-forward layers by a lot.
        for name, default, here in (("max_public_loss_increase", "0.05", "5"),
                                    ("max_output_ratio", "16", "1000"),
                                    ("max_mean_output_ratio", "2", "100")):
            assert f"# {name}: {default}" in text, f"{name} in {text}"
            text = text.replace(f"# {name}: {default}", f"{name}: {here}")
        config.write_text(text)

    def serve(self):
        self.choose_port()
        address = self.home / "address"
        address.unlink(missing_ok=True)
        log = open(self.home / "serve.log", "ab")
        with log:
            self.process = subprocess.Popen(
                [str(self.program), "--home", str(self.home), "serve"],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                env=self.environment)
        for _ in range(1200):
            if address.exists() and address.read_text().strip():
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError("the coordinator does not serve:\n" +
                             (self.home / "serve.log").read_text()[-4000:])

    def choose_port(self):
        """A restart takes the same port, which contributors remember."""
        config = self.home / "coordinator.textproto"
        text = config.read_text()
        if '"127.0.0.1:0"' in text:
            config.write_text(text.replace(
                '"127.0.0.1:0"', f'"127.0.0.1:{reserve_port()}"'))

    def kill(self):
        """kill -9: no drain, no clean-up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(timeout=60)
        return self.process.returncode if self.process else None

    def publish(self, anchor=ANCHOR, name="tiny"):
        return self.json(
            "anchor", "publish", "--name", name, "--model", anchor,
            "--public-text", f"prose={TEXT}/public_prose.jsonl",
            "--public-text", f"heldout={TEXT}/public_heldout.jsonl",
            "--public-text", f"dictionary={TEXT}/background_dictionary.jsonl",
            "--public-text", f"python={TEXT}/background_python.jsonl",
            "--public-text", f"tables={TEXT}/background_tables.jsonl")

    def invite(self, contributor_id, *options):
        path = self.home.parent / f"{contributor_id}.invitation.json"
        path.unlink(missing_ok=True)
        self("contributor", "invite", "--id", contributor_id, "--output", path,
             *options)
        return path


class Contributor:
    def __init__(self, binaries, home):
        self.program = binaries / "tributary-contributor"
        self.home = home

    def __call__(self, *arguments, want=0, timeout=240):
        return run([self.program, "--home", self.home, *arguments], want, timeout)

    def json(self, *arguments, **options):
        out, _ = self("--format", "json", *arguments, **options)
        return json.loads(out)

    def init(self, invitation, text, width, recipe="train", *options, want=0):
        self("init", "--invite", invitation, "--train", TEXT / f"{text}.jsonl",
             "--heldout", TEXT / f"{text}_heldout.jsonl", "--width", width,
             "--recipe", recipe, "--approval", "automatic",
             "--max-windows-per-document", "2", *options, want=want)

    def start(self, *arguments):
        """A background process; the caller ends it."""
        log = open(self.home / "background.log", "ab")
        with log:
            return subprocess.Popen(
                [str(self.program), "--home", str(self.home), *arguments],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL)


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


class FederationCase(unittest.TestCase):
    """Tests with one coordinator that serves and has published its anchor, in a
    folder (`root`) that goes with the class."""

    binaries = None  # set by `main`

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix=f"{cls.__name__}-")
        cls.addClassCleanup(cls.folder.cleanup)
        cls.root = pathlib.Path(cls.folder.name)
        cls.coordinator = Coordinator(cls.binaries, cls.root / "coordinator")
        cls.addClassCleanup(cls.coordinator.stop)
        cls.coordinator.init()
        cls.prepare()
        cls.coordinator.serve()
        cls.anchor = cls.coordinator.publish()

    @classmethod
    def prepare(cls):
        """Changes the coordinator's configuration before it serves."""

    @classmethod
    def tearDownClass(cls):
        code = cls.coordinator.stop()
        assert code == 0, f"the coordinator ended with {code} on SIGTERM"

    @classmethod
    def site(cls, name, text="domain_a", width=128, recipe="train", *options):
        """A contributor of that name, invited and enrolled."""
        contributor = Contributor(cls.binaries, cls.root / f"site-{name}")
        contributor.init(cls.coordinator.invite(name), text, width, recipe, *options)
        return contributor


def main(failfast=True):
    """Runs the tests of the script that calls it: --binaries DIR, and unittest's
    own arguments. Steps that depend on one another stop at the first failure."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    arguments, rest = parser.parse_known_args()
    FederationCase.binaries = arguments.binaries
    unittest.main(argv=[sys.argv[0], *rest], verbosity=2, failfast=failfast)


def same_bytes(first, second):
    return pathlib.Path(first).read_bytes() == pathlib.Path(second).read_bytes()


def wait_for(condition, seconds=60, what="condition"):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")



"""Sends weights to a Flower SuperLink over loopback, without TLS.

usage: flower.py whole|hop ROUNDS MIB     (in an environment with flwr)

whole: from the return of a ClientApp until the SuperLink has the reply, by Flower's
own programs: ClientApp, SuperNode, SuperLink. hop: the last part alone; this process
is the SuperNode, with Flower's client and everything serialised before the clock
starts. State and objects stay in memory. Prints {"bytes": ..., "seconds": [...]}.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

APP = """[project]
name = "push"
version = "1.0.0"
description = "asks one node for replies"
license = "Apache-2.0"
dependencies = []

[tool.flwr.app]
publisher = "benchmark"

[tool.flwr.app.components]
serverapp = "push.app:server"
clientapp = "push.app:client"
"""

# Files in FOLDER: go-N asks for round N, returned-N holds when its arrays were there.
MODULE = """import pathlib, time
import numpy
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp

FOLDER = pathlib.Path({folder!r})
server = ServerApp()
client = ClientApp()

def arrays(seed):
    random = numpy.random.default_rng(seed)
    return ArrayRecord([numpy.frombuffer(random.bytes({array}), dtype=numpy.float32)
                        for _ in range({count})])

def wait_for(path):
    while not path.exists():
        time.sleep(0.05)

@client.train()
def train(message, context):
    round = int(message.metadata.group_id)
    reply = Message(RecordDict({{"weights": arrays(round)}}), reply_to=message)
    (FOLDER / f"returned-{{round}}").write_text(str(time.monotonic()))
    return reply

@server.main()
def main(grid, context):
    while not (nodes := list(grid.get_node_ids())):
        time.sleep(0.1)
    for round in range({rounds}):
        wait_for(FOLDER / f"go-{{round}}")
        grid.push_messages([Message(RecordDict(), nodes[0], "train", group_id=str(round))])
    wait_for(FOLDER / "end")
"""

ARRAY_BYTES = 4 << 20
SENT = "Sent successfully"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError("Flower does not go on")
        time.sleep(0.02)
    return found


def listens(port) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


def write_app(folder, rounds, size):
    (folder / "app/push").mkdir(parents=True)
    (folder / "app/pyproject.toml").write_text(APP)
    (folder / "app/push/__init__.py").write_text("")
    (folder / "app/push/app.py").write_text(MODULE.format(
        folder=str(folder), rounds=rounds, array=ARRAY_BYTES, count=size // ARRAY_BYTES))


def whole(folder, rounds, log) -> list:
    seconds = []
    for number in range(rounds):
        (folder / f"go-{number}").touch()
        wait_until(lambda: log.read_text().count(SENT) > number)
        seconds.append(time.monotonic() - float((folder / f"returned-{number}").read_text()))
    return seconds


def reply_to(folder, message, number):
    """A reply: (message, tree, {id: bytes})."""
    sys.path.insert(0, str(folder / "app"))
    from flwr.app import Message, RecordDict
    from flwr.supercore.inflatable.inflatable_object import (get_all_nested_objects,
                                                             get_object_tree)
    from push.app import arrays

    reply = Message(RecordDict({"weights": arrays(number)}), reply_to=message)
    reply.metadata.__dict__["_message_id"] = reply.object_id
    contents = {name: one.deflate() for name, one in get_all_nested_objects(reply).items()}
    return reply, get_object_tree(reply), contents


def hop(folder, rounds, connection) -> list:
    from flwr.supercore.inflatable.inflatable_utils import push_object_contents_from_iterable

    _, receive, send, _, _, _, push_object, _ = connection
    seconds = []
    for number in range(rounds):
        (folder / f"go-{number}").touch()
        message, _ = wait_until(receive)
        reply, tree, contents = reply_to(folder, message, number)
        run = message.metadata.run_id
        begin = time.monotonic()
        wanted, session = send(reply, tree, 1.0)
        push_object_contents_from_iterable(
            ((name, contents[name]) for name in wanted),
            lambda name, content: push_object(run, session, name, content))
        seconds.append(time.monotonic() - begin)
    return seconds


class Programs:
    """Flower's programs with one log each; ended together."""

    def __init__(self, folder):
        self.folder, self.running = folder, []

    def start(self, name, *arguments):
        with open(self.folder / f"{name}.log", "w") as log:
            self.running.append(subprocess.Popen([name, "--insecure", *arguments], stdout=log,
                                                 stderr=log))

    def end(self):
        for program in reversed(self.running):
            program.terminate()
            program.wait(30)


def measure(mode, rounds, size, folder) -> list:
    port, node_port = free_port(), free_port()
    os.environ.update(FLWR_HOME=str(folder / "home"), FLWR_TELEMETRY_ENABLED="0",
                      FLWR_DISABLE_UPDATE_CHECK="1",
                      PATH=f"{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}")
    from flwr.supernode.fleet_http_connection import http_request_response

    (folder / "home").mkdir()
    (folder / "home/config.toml").write_text(
        f'[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n')
    rounds += 1  # the first warms up
    write_app(folder, rounds, size)
    run_app = ["flwr", "run", str(folder / "app"), "here"]
    programs, seconds = Programs(folder), []
    try:
        programs.start("flower-superlink", "--host", "127.0.0.1", "--port", str(port),
                       "--disable-runtime-dependency-installation")
        wait_until(lambda: listens(port))
        if mode == "whole":
            programs.start("flower-supernode", "--superlink", f"127.0.0.1:{port}", "--port",
                           str(node_port))
            subprocess.run(run_app, stdout=sys.stderr, check=True)
            seconds = whole(folder, rounds, folder / "flower-supernode.log")
        else:
            with http_request_response(f"127.0.0.1:{port}", insecure=True) as connection:
                subprocess.run(run_app, stdout=sys.stderr, check=True)
                seconds = hop(folder, rounds, connection)
        (folder / "end").touch()
    finally:
        programs.end()
        if len(seconds) != rounds:
            for log in folder.glob("*.log"):
                sys.stderr.write(log.read_text()[-2000:])
    return seconds[1:]


def main():
    mode, rounds, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) << 20
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(mode, rounds, size, pathlib.Path(folder))
    if len(seconds) != rounds:
        sys.exit("Flower's connection ended; its log is above")
    print(json.dumps({"bytes": size, "seconds": seconds}))


if __name__ == "__main__":
    main()

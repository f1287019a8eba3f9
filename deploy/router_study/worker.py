"""Runs jobs with the product's two workers; what is done is not done again."""

import hashlib
import json
import pathlib
import shutil
import subprocess
import time


class OutOfTime(Exception):
    """The time given is over; the same command goes on from here."""


class WorkerError(RuntimeError):
    """A job failed; the message is the worker's."""


class Workers:
    """`binaries` is the folder of the executables, `folder` holds a folder a job."""

    def __init__(self, binaries: pathlib.Path, folder: pathlib.Path, seconds: float,
                 threads: int):
        self._threads = threads
        self._binaries = binaries
        self._folder = folder
        self._end = time.monotonic() + seconds if seconds > 0 else float("inf")

    def output(self, name: str) -> pathlib.Path:
        return self._folder / name

    def _stored_key(self, output: pathlib.Path) -> str:
        path = output / "key"
        return path.read_text().strip() if path.exists() else ""

    def _key(self, job: dict) -> str:
        """Of a job and, by their keys, of all jobs that it reads from: when one of those
        is another, so is this."""
        read = {self._stored_key(folder) for path in map(pathlib.Path, job["read_paths"])
                for folder in (path, path.parent)}
        return hashlib.sha256(json.dumps([job, sorted(read)]).encode()).hexdigest()

    def make(self, name: str, read: list, make, **settings) -> None:
        """Calls `make(folder)` for what no worker computes, once like a job as long as the
        settings are the same. Raises OutOfTime."""
        output = self.output(name)
        key = self._key({"id": name, "read_paths": sorted({str(path) for path in read})}
                        | settings)
        if self._stored_key(output) == key:
            return
        if time.monotonic() > self._end:
            raise OutOfTime(name)
        shutil.rmtree(output, ignore_errors=True)
        output.mkdir(parents=True)
        began = time.monotonic()
        make(output)
        (output / "key").write_text(key + "\n")
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)

    def run(self, side: str, name: str, tasks: list, read: list, seed: int = 0) -> list:
        """The results of the tasks of the job `name`. `side`: coordinator or contributor.
        Raises WorkerError and OutOfTime."""
        output = self.output(name)
        job = {"id": name.replace("/", "-"), "output_directory": str(output),
               "read_paths": sorted({str(path) for path in read}), "seed": seed,
               "threads": self._threads, "tasks": tasks}
        stored, result = output / "job.json", output / "result.json"
        key = self._key(job)
        same = self._stored_key(output) == key
        if same and result.exists():
            finished = json.loads(result.read_text())
            if not finished.get("code"):
                return finished["tasks"]
        if time.monotonic() > self._end:
            raise OutOfTime(name)
        if not same:  # else training goes on from its last checkpoint
            shutil.rmtree(output, ignore_errors=True)
            output.mkdir(parents=True)
            stored.write_text(json.dumps(job, indent=1))
            (output / "key").write_text(key + "\n")
        result.unlink(missing_ok=True)
        began = time.monotonic()
        binary = self._binaries / f"tributary-{side}-worker"
        with open(output / "log.txt", "wb") as log:
            code = subprocess.run([binary, "--job", stored], stdin=subprocess.DEVNULL,
                                  stdout=log, stderr=log, check=False).returncode
        finished = json.loads(result.read_text()) if result.exists() else {}
        if code != 0 or finished.get("code"):
            raise WorkerError(f"{name}: exit code {code}: "
                              f"{finished.get('message') or 'see ' + str(output / 'log.txt')}")
        print(f"{name}: {time.monotonic() - began:.1f} s", flush=True)
        return finished["tasks"]

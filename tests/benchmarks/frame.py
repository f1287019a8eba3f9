"""What topics of run.py use: rows, our benchmark programs, peers in Python."""

import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BENCHMARKS = REPOSITORY / "tests/benchmarks"


class MeasurementError(Exception):
    """A topic could not measure; the message says why and what to do."""


@dataclasses.dataclass
class Row:
    """One line of the table: `value` is a ratio measured within one run."""

    number: int
    name: str
    value: float
    bar: float
    better: str = "higher"  # or "lower"
    detail: str = ""

    def met(self) -> bool:
        # A NaN is never met.
        return self.value >= self.bar if self.better == "higher" else self.value <= self.bar


@dataclasses.dataclass
class Measured:
    """One C++ benchmark: median seconds of its repetitions, and counters."""

    seconds: float
    counters: dict
    all_seconds: list


TIME_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
NOT_COUNTERS = {"name", "family_index", "per_family_instance_index", "run_name", "run_type",
                "repetitions", "repetition_index", "threads", "iterations", "real_time",
                "cpu_time", "time_unit", "label", "error_occurred", "error_message"}


class Server:
    """A Python peer that stays: one line of JSON asked, one answered."""

    def __init__(self, command: list, environment: dict):
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen([str(part) for part in command], text=True,
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                         stderr=self._errors, env=environment)
        self._answer()

    def ask(self, **request) -> dict:
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            raise MeasurementError("peer ended: " + self._errors.read()[-3000:])
        return json.loads(line)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()


class Context:
    """Runs programs for topics. `quick`: a smoke run, its figures mean little."""

    def __init__(self, build: pathlib.Path, front_build: pathlib.Path, venv: pathlib.Path,
                 threads: int, quick: bool):
        self.build, self.front_build, self.venv = build, front_build, venv
        self.threads, self.quick = threads, quick
        self.rounds = 2 if quick else 5
        self._scratch = tempfile.TemporaryDirectory(prefix="tributary-bench-")
        self.scratch = pathlib.Path(self._scratch.name)

    def close(self):
        self._scratch.cleanup()

    def binary(self, name: str) -> pathlib.Path:
        """A built program by name, e.g. tributary-contributor-worker."""
        for folder in (self.build, self.front_build):
            path = folder / "bin" / name
            if path.is_file():
                return path
        raise MeasurementError(f"{name}: not built in {self.build} or {self.front_build}; run"
                               f" cmake --build {self.build} --target {name}")

    def environment(self, **more) -> dict:
        """As many threads for everybody; otherwise a program's own defaults."""
        count = str(self.threads)
        inherited = {key: value for key, value in os.environ.items()
                     if key not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
        return {**inherited, "OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count,
                "BENCHMARK_THREADS": count, "TOKENIZERS_PARALLELISM": "false",
                "HF_HUB_OFFLINE": "1", **more}

    def run(self, command: list, **more) -> str:
        """Standard output of a program; MeasurementError with its errors."""
        result = subprocess.run([str(part) for part in command], capture_output=True, text=True,
                                check=False, env=self.environment(**more))
        if result.returncode != 0:
            raise MeasurementError(f"{' '.join(map(str, command))}: exit code {result.returncode}"
                                   f"\n{result.stderr[-3000:]}")
        return result.stdout

    def cpp(self, pattern: str, kind: str = "torch", repetitions: int = 1, **environment) -> dict:
        """Runs tributary_benchmarks_<kind> on the benchmarks whose name matches
        the regular expression: {name: Measured}. Benchmarks that take turns
        (RunInTurn) need one repetition; others take medians over several."""
        out = self.scratch / "benchmark.json"
        out.unlink(missing_ok=True)
        command = [self.binary(f"tributary_benchmarks_{kind}"), f"--benchmark_filter={pattern}",
                   f"--benchmark_repetitions={repetitions}", f"--benchmark_out={out}",
                   "--benchmark_out_format=json"]
        # What the job runner sets for workers.
        self.run(command, **{"GOMP_SPINCOUNT": "10000", **environment})
        runs = {}
        text = out.read_text()  # empty when nothing matched
        for entry in json.loads(text)["benchmarks"] if text else ():
            if entry.get("error_occurred"):
                raise MeasurementError(f"{entry['name']}: {entry['error_message']}")
            if entry["run_type"] == "iteration":
                runs.setdefault(entry["run_name"], []).append(entry)
        if not runs:
            raise MeasurementError(f"no benchmark of tributary_benchmarks_{kind} matches {pattern}")
        return {name: self._summary(entries) for name, entries in runs.items()}

    @staticmethod
    def _summary(entries: list) -> Measured:
        seconds = [e["real_time"] * TIME_UNITS[e["time_unit"]] for e in entries]
        counters = {key: statistics.median(e[key] for e in entries)
                    for key, value in entries[0].items()
                    if key not in NOT_COUNTERS and isinstance(value, (int, float))}
        return Measured(statistics.median(seconds), counters, seconds)

    def python(self, script: str, *arguments, interpreter=None, **environment) -> dict:
        """Runs a script of tests/benchmarks; the last line it prints is JSON."""
        command = [interpreter or self.venv / "bin/python", BENCHMARKS / script, *arguments]
        return json.loads(self.run(command, **environment).strip().splitlines()[-1])

    def server(self, script: str, *arguments, interpreter=None) -> Server:
        """Starts a script of tests/benchmarks that prints a line of JSON when it is
        ready and one for each line of JSON that it reads."""
        return Server([interpreter or self.venv / "bin/python", BENCHMARKS / script, *arguments],
                      self.environment())

    def environment_with(self, name: str, packages: list) -> pathlib.Path:
        """The interpreter of a virtual environment of its own, made when missing
        (build/benchmarks/<name>), for peers that the project does not need."""
        folder = REPOSITORY / "build/benchmarks" / name
        wanted = "\n".join(packages)
        mark = folder / "installed"
        if not mark.is_file() or mark.read_text() != wanted:
            self.run([sys.executable, "-m", "venv", folder])
            self.run([folder / "bin/python", "-m", "pip", "install", "-q", *packages])
            mark.write_text(wanted)
        return folder / "bin/python"

    def alternate(self, *sides) -> list:
        """Calls the sides in turn for `rounds` rounds; per side the list of what
        it returned. One round each before that, when the side is a process that
        does not warm up by itself, is the side's own business."""
        results = [[] for _ in sides]
        for _ in range(self.rounds):
            for side, values in zip(sides, results):
                values.append(side())
        return results


def median_ratio(over: list, under: list) -> float:
    """Median of the ratios of pairs taken in the same round."""
    return statistics.median(a / b for a, b in zip(over, under))

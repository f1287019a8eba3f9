"""Index merges, exports and opt-outs; mergekit-moe as the peer."""

import math
import pathlib
import shutil
import tempfile
import time

from frame import MeasurementError, Row, median_ratio

ROWS = {14, 15, 16, 17}
# torch, transformers and their like come from our own environment.
PEER = ["--no-deps", "mergekit==0.1.5", "accelerate", "click", "immutables", "peft", "pydantic",
        "pydantic_core", "annotated-types", "typing-inspection", "scipy"]


def exponent(sizes, seconds):
    """Slope of log(seconds) over log(size), least squares."""
    x, y = [math.log(v) for v in sizes], [math.log(v) for v in seconds]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    return (sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y))
            / sum((a - mean_x) ** 2 for a in x))


def arguments_of(name):
    """The numbers in IndexMerge/128/512/real_time."""
    return tuple(int(part) for part in name.split("/")[1:] if part.isdigit())


def index_rows(context):
    rows = []
    for name, run in context.cpp("^IndexMergeOverCopy", "merge").items():
        experts, width = arguments_of(name)[:2]
        counters = run.counters
        rows += [
            Row(14, f"index merge / cp, {experts} experts of width {width}",
                counters["per_copy"], 0.01, "lower",
                f"{1e3 * counters['merge_s']:.2f} ms against {1e3 * counters['copy_s']:.0f} ms for"
                f" {counters['referenced_mb']:.0f} MB"),
            Row(14, "bytes written / (router + manifest)", counters["written"], 1.05, "lower",
                f"bytes read / (router + manifest): {counters['read']:.3f}")]
    sweep = {arguments_of(name): run.seconds
             for name, run in context.cpp("^IndexMerge/", "merge", repetitions=context.rounds).items()}
    by_experts = sorted((e, t) for (e, width), t in sweep.items() if width == 512)
    by_width = sorted((width, t) for (e, width), t in sweep.items() if e == 128)
    rows += [
        Row(14, "index merge: exponent of time in experts", exponent(*zip(*by_experts)), 1.05,
            "lower", ", ".join(f"{e}: {1e3 * t:.1f} ms" for e, t in by_experts)),
        Row(14, "index merge: exponent of time in width", exponent(*zip(*by_width)), 0.05, "lower",
            ", ".join(f"{w}: {1e3 * t:.1f} ms" for w, t in by_width))]
    return rows


def opt_out_rows(context):
    runs = {arguments_of(name)[1]: run
            for name, run in context.cpp("^OptOut", "merge", repetitions=context.rounds).items()}
    widths = sorted(runs)
    times = ", ".join(f"{w}: {1e3 * runs[w].seconds:.2f} ms" for w in widths)
    return [
        Row(17, "opt-out: bytes written / (router + manifest)",
            max(run.counters["written"] for run in runs.values()), 1.1, "lower"),
        Row(17, "opt-out: bytes read / (router + manifest)",
            max(run.counters["read"] for run in runs.values()), 1.1, "lower"),
        Row(17, "opt-out: exponent of time in width",
            exponent(widths, [runs[w].seconds for w in widths]), 0.05, "lower", times)]


def timed(context, command, output=None):
    """Seconds of a command; what it makes is removed before."""
    if output is not None:
        shutil.rmtree(output, ignore_errors=True)
    start = time.perf_counter()
    context.run(command)
    return time.perf_counter() - start


def peer_rows(context, folder):
    """mergekit-moe on four models; the same mixture as one of our releases."""
    python = context.environment_with("mergekit", PEER)
    shared = context.run([context.venv / "bin/python", "-c",
                          "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    own = context.run([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).strip()
    (pathlib.Path(own) / "shared.pth").write_text(shared + "\n")
    mergekit = python.parent / "mergekit-moe"
    coordinator = context.binary("tributary-coordinator")
    context.python("peers/mergekit_moe.py", "make", folder)
    context.python("peers/mergekit_moe.py", "config", folder, folder / "moe.yaml")
    theirs, ours = folder / "mergekit", folder / "export"
    merge = [mergekit, "--no-copy-tokenizer", folder / "moe.yaml", theirs]
    timed(context, merge, theirs)
    if not (theirs / "config.json").is_file():
        raise MeasurementError("mergekit-moe wrote no model")
    release = folder / "release"
    timed(context, [coordinator, "release", "import-model", "--model", theirs, "--name", "peer",
                    "--output", release], release)
    index = folder / "index"
    start_up, merged, exported, indexed = context.alternate(
        lambda: timed(context, [mergekit, "--help"]),
        lambda: timed(context, merge, theirs),
        lambda: timed(context, [coordinator, "release", "export", release, "--as", "huggingface",
                                "--output", ours], ours),
        lambda: timed(context, [coordinator, "release", "merge", "--release", release, "--output",
                                index], index))
    net = [whole - start for whole, start in zip(merged, start_up)]
    bytes_out = sum(f.stat().st_size for f in ours.glob("*.safetensors"))
    middle = {name: sorted(values)[len(values) // 2] for name, values in
              (("merge", merged), ("start", start_up), ("export", exported), ("index", indexed))}
    detail = (f"mergekit-moe {middle['merge']:.2f} s, of which {middle['start']:.2f} s is start-up;"
              f" our whole command, read again and compared, {middle['export']:.2f} s;"
              f" {bytes_out / 1e6:.0f} MB")
    index_detail = f"our command {1e3 * middle['index']:.1f} ms"
    rows = [Row(16, "mergekit-moe / our export", median_ratio(merged, exported), 10, "higher", detail),
            Row(16, "the same, net of its start-up", median_ratio(net, exported), 2),
            Row(16, "mergekit-moe / our index merge", median_ratio(merged, indexed), 500, "higher",
                index_detail),
            Row(16, "the same, net of its start-up", median_ratio(net, indexed), 50)]
    write = context.cpp("^MaterialiseOverCopy", "export", BENCHMARK_RELEASE=str(release))
    counters = next(iter(write.values())).counters
    rows += [Row(15, "writing an export / cp of it", counters["per_copy"], 1.10, "lower",
                 f"{counters['mb']:.0f} MB in {1e3 * counters['write_s']:.0f} ms"),
             Row(15, "memory beyond the page cache, MiB", counters["memory_mib"], 64, "lower")]
    return rows


def measure(context):
    rows = []
    if 14 in context.wanted:
        rows += index_rows(context)
    if 17 in context.wanted:
        rows += opt_out_rows(context)
    if context.wanted & {15, 16}:
        base = "/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None
        with tempfile.TemporaryDirectory(dir=base, prefix="tributary-merge-") as folder:
            rows += peer_rows(context, pathlib.Path(folder))
    return rows

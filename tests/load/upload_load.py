#!/usr/bin/env python3
"""64 contributors upload at once to one coordinator; its memory over time.

    upload_load.py --binaries DIR [--contributors N] [--megabytes M]
                   [--processes P] [--format json]

Every contributor enrols, registers a signed manifest and uploads M MiB of its
own over mutual TLS in messages of 1 MiB, all at the same time. Prints rate,
memory of the coordinator while the uploads run, threads and open files, and
checks that every byte arrived. The uploading side is Python with grpcio in P
processes on the same machine, so the rate is a lower bound.
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import pathlib
import random
import shutil
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent /
                       "integration"))

from api import Api, Identity, open_envelope, openssl, request_id  # noqa: E402
from api import sign_envelope  # noqa: E402
from federation import ANCHOR, Contributor, Coordinator  # noqa: E402

CHUNK = 1 << 20
WIDTH = 256  # of the template, unlike any other size of the anchor
BYTES_A_CHANNEL = 2 * 3 * 128 * 2  # of the anchor's two layers with experts


def content(name, size):
    """Bytes that differ between contributors and cost no time to make."""
    block = random.Random(name).randbytes(CHUNK)
    return [block[i % 251:] + block[:i % 251] for i in range(size // CHUNK)]


def wide_anchor(folder, width):
    """The small anchor with MLPs of another width."""
    shutil.copytree(ANCHOR, folder)
    config = json.loads((folder / "config.json").read_text())
    config["intermediate_size"] = width
    (folder / "config.json").write_text(json.dumps(config))
    data = (ANCHOR / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    old = json.loads(data[8:8 + length])
    header, parts, position = {}, [], 0
    for name, entry in sorted(old.items()):
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        shape, part = entry["shape"], data[8 + length + begin:8 + length + end]
        if ".mlp." in name:
            before = max(shape)
            shape = [width if side == before else side for side in shape]
            part = (part * (width // before + 1))[:len(part) // before * width]
        header[name] = {"dtype": entry["dtype"], "shape": shape,
                        "data_offsets": [position, position + len(part)]}
        position += len(part)
        parts.append(part)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (folder / "model.safetensors").write_bytes(
        len(text).to_bytes(8, "little") + text + b"".join(parts))


def widen(statement, width):
    """An expert manifest for that width; digests of tensors are looked at in
    admission only."""
    predicate = statement["predicate"]
    predicate["widths"] = [width if one else 0 for one in predicate["widths"]]
    for tensor in predicate["tensors"]:
        if "_proj" in tensor["name"]:
            tensor["shape"] = [width if side == WIDTH else side
                               for side in tensor["shape"]]
    return statement


def enrol(api, coordinator, name, folder):
    """An identity, without the site's own program."""
    folder.mkdir()
    invitation = json.loads(coordinator.invite(name).read_text())
    key = folder / "key.pem"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-out", key)
    signing = openssl("req", "-new", "-key", key, "-subj", f"/CN={name}")
    while True:
        try:
            answer = api.call(
                "EnrolmentService", "Enrol", request_id=request_id(),
                contributor_id=name,
                invitation_secret=bytes.fromhex(invitation["secret"]),
                certificate_signing_request_pem=signing)
            break
        except Exception as error:
            if error.code().name != "UNAVAILABLE":  # too many at once
                raise
            time.sleep(0.2)
    (folder / "crt.pem").write_text(answer.certificate_pem)
    return Identity(coordinator.home / "keys/ca.crt.pem", folder / "crt.pem", key)


def manifest_for(template, name, chunks, key):
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    blob = f"blobs/sha256/{digest.hexdigest()}/{len(chunks) * CHUNK}"
    statement = json.loads(json.dumps(template))
    statement["predicate"] |= {"contribution": name, "contributor": name,
                               "blob": blob}
    statement["subject"] = [{"name": name,
                             "digest": {"sha256": digest.hexdigest()}}]
    return blob, sign_envelope(statement, key)


def upload(address, identities, blobs, size, go, done):
    """The contributors of one process, a thread each."""
    def one(name):
        chunks = content(name, size)
        with Api(address, identities[name]) as api:
            stub = api.stub("BlobService", "Write")
            from api import message

            def messages():
                for i, chunk in enumerate(chunks):
                    yield message("WriteRequest", resource_name=blobs[name],
                                  contribution=f"contributions/{name}",
                                  write_offset=i * CHUNK, data=chunk,
                                  finish_write=i + 1 == len(chunks))
            api.call("AnchorService", "GetAnchor", name="anchors/current")
            go.wait()
            started = time.monotonic()
            committed = stub(messages(), timeout=600).committed_size
            done.put((name, committed, time.monotonic() - started))
    threads = [threading.Thread(target=one, args=(name,)) for name in blobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Meter(threading.Thread):
    """Memory, threads and files of a process: at once, and then every 50 ms
    until it is told to end, so there is at least one sample however short the
    run."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid = pid
        self.samples = []
        self.ended = threading.Event()

    def sample(self):
        fields = dict(line.split(":", 1) for line in pathlib.Path(
            f"/proc/{self.pid}/status").read_text().splitlines())
        return {"rss_mb": int(fields["VmRSS"].split()[0]) / 1024,
                "threads": int(fields["Threads"]),
                "files": len(os.listdir(f"/proc/{self.pid}/fd")),
                "time": time.monotonic()}

    def run(self):
        self.samples.append(self.sample())
        while not self.ended.wait(0.05):
            self.samples.append(self.sample())


def run(arguments, root):
    coordinator = Coordinator(arguments.binaries, root / "coordinator")
    try:
        return measure(arguments, root, coordinator)
    finally:
        coordinator.stop()


def measure(arguments, root, coordinator):
    coordinator.init()
    config = coordinator.home / "coordinator.textproto"
    config.write_text(config.read_text().replace(
        "\nquotas {\n", "\nquotas {\n  min_free_disk_bytes: 1\n", 1))
    coordinator.serve()
    # The widest expert has the wanted size.
    width = ((arguments.megabytes << 20) - (64 << 10)) // BYTES_A_CHANNEL
    width = width // 128 * 128
    wide_anchor(root / "anchor", width)
    coordinator.publish(root / "anchor")
    site = Contributor(arguments.binaries, root / "site")
    site.init(coordinator.invite("template"), "domain_a", WIDTH)
    site_config = site.home / "contributor.textproto"
    site_config.write_text(site_config.read_text().replace(
        "\ndata {\n", "\ndata {\n  max_train_windows: 32\n", 1))
    site("export")
    template = widen(open_envelope(
        (site.home / "egress/template/manifest.dsse.json").read_bytes()), width)
    address = (coordinator.home / "address").read_text().strip()
    size = arguments.megabytes * CHUNK
    names = [f"site-{i}" for i in range(arguments.contributors)]
    identities, blobs = {}, {}
    with Api(address, Identity(coordinator.home / "keys/ca.crt.pem")) as api:
        for name in names:
            identities[name] = enrol(api, coordinator, name, root / name)
            blobs[name], envelope = manifest_for(
                template, name, content(name, size), identities[name].key)
            with Api(address, identities[name]) as own:
                own.create(envelope)
    go, done = multiprocessing.Event(), multiprocessing.Queue()
    workers = [multiprocessing.Process(
        target=upload, args=(address, identities,
                             {name: blobs[name] for name in
                              names[i::arguments.processes]}, size, go, done))
               for i in range(arguments.processes)]
    for worker in workers:
        worker.start()
    time.sleep(2)  # connections stand
    meter = Meter(coordinator.process.pid)
    before = meter.sample()
    meter.start()
    started = time.monotonic()
    go.set()
    results = [done.get(timeout=600) for _ in names]
    seconds = time.monotonic() - started
    meter.ended.set()
    meter.join()
    for worker in workers:
        worker.join()
    assert all(committed == size for _, committed, _ in results), results
    stored = {path.name for path in (coordinator.home / "blobs").rglob("*")
              if path.is_file()}
    assert {blob.split("/")[2] for blob in blobs.values()} <= stored
    after = Meter(coordinator.process.pid).sample()
    assert coordinator.stop() == 0
    quarters = [meter.samples[i * (len(meter.samples) - 1) // 4]["rss_mb"]
                for i in range(5)]
    return {
        "contributors": len(names), "megabytes_each": arguments.megabytes,
        "seconds": seconds,
        "megabytes_per_second": len(names) * arguments.megabytes / seconds,
        "rss_before_mb": before["rss_mb"],
        "rss_peak_mb": max(sample["rss_mb"] for sample in meter.samples),
        "rss_over_time_mb": quarters, "rss_after_mb": after["rss_mb"],
        "threads_peak": max(sample["threads"] for sample in meter.samples),
        "files_peak": max(sample["files"] for sample in meter.samples),
        "slowest_s": max(took for _, _, took in results),
        "fastest_s": min(took for _, _, took in results)}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--binaries", type=pathlib.Path, required=True)
    parser.add_argument("--contributors", type=int, default=64)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--max-growth-mb", type=float, default=512,
                        help="fail when memory grows by more")
    parser.add_argument("--format", choices=["text", "json"], default="text")
    arguments = parser.parse_args()
    arguments.binaries = arguments.binaries.resolve()
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        result = run(arguments, pathlib.Path(folder))
    if arguments.format == "json":
        print(json.dumps(result, indent=1))
    else:
        for name, value in result.items():
            shown = ("  ".join(f"{one:.0f}" for one in value)
                     if isinstance(value, list) else
                     f"{value:.1f}" if isinstance(value, float) else value)
            print(f"{name.replace('_', ' '):24} {shown}")
    growth = result["rss_peak_mb"] - result["rss_before_mb"]
    sys.exit(1 if growth > arguments.max_growth_mb else 0)


if __name__ == "__main__":
    main()

"""Attempts with bytes: TLS, HTTP/2, gRPC messages, names and files."""

import hashlib
import os
import random
import socket
import ssl
import struct
import subprocess
import threading
import time

import grpc

from api import Api, Identity, message, open_envelope, sign_envelope
from target import CODES, Taken, refused, request_id

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def frame(kind, flags, stream, payload):
    return (struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) +
            struct.pack(">I", stream) + payload)


def tls(target, who="mallory", alpn=("h2",)):
    context = ssl.create_default_context(cafile=str(target.ca))
    context.check_hostname = False
    identity = target.sites[who].home / "identity"
    context.load_cert_chain(identity / "contributor.crt.pem",
                            identity / "contributor.key.pem")
    context.set_alpn_protocols(list(alpn))
    raw = socket.create_connection((target.host, target.port), timeout=10)
    return context.wrap_socket(raw)


def ends(connection, seconds=10):
    """Whether the other side closes within the time, GOAWAY included."""
    connection.settimeout(seconds)
    try:
        while True:
            data = connection.recv(65536)
            if not data or (len(data) > 3 and data[3] == 7):
                return True
    except (TimeoutError, socket.timeout):
        return False
    except OSError:
        return True


def old_protocols(target):
    refusals = []
    for options in (["-tls1"], ["-tls1_1"],
                    ["-tls1_2", "-cipher", "AES128-SHA"],
                    ["-tls1_2", "-cipher", "AES256-GCM-SHA384"],
                    ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
                    ["-tls1_2", "-cipher", "ECDHE-ECDSA-AES256-SHA384"],
                    ["-tls1_2", "-cipher", "NULL"],
                    ["-tls1_2", "-cipher", "aNULL"]):
        if options[-1] not in ("NULL", "aNULL") and len(options) > 1:
            options[-1] += ":@SECLEVEL=0"
        elif len(options) > 1:
            options[-1] += ":@SECLEVEL=0"
        else:
            options += ["-cipher", "ALL:@SECLEVEL=0"]
        done = subprocess.run(
            ["openssl", "s_client", "-connect", target.address, "-alpn", "h2",
             *options], input=b"", capture_output=True, check=False,
            timeout=20)
        text = (done.stdout + done.stderr).decode(errors="replace")
        if "Cipher is (NONE)" not in text and "Cipher    : 0000" not in text \
                and done.returncode == 0:
            raise Taken(f"{options}: {text[-500:]}")
        refusals.append(options[0])
    good = subprocess.run(
        ["openssl", "s_client", "-connect", target.address, "-alpn", "h2",
         "-tls1_3", "-CAfile", target.ca], input=b"", capture_output=True,
        check=False, timeout=20).stdout.decode(errors="replace")
    if "TLSv1.3" not in good:
        raise Taken(f"TLS 1.3 does not work: {good[-300:]}")
    return ("TLS 1.0 and 1.1; TLS 1.2 with RSA key exchange, CBC, no "
            "encryption, no authentication"), "8 handshakes failed"


def plain_text(target):
    with socket.create_connection((target.host, target.port)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        if not ends(connection):
            raise Taken("a plain connection stays open")
    with tls(target, alpn=("http/1.1",)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        if not ends(connection):
            raise Taken("HTTP/1.1 over TLS stays open")
    return "HTTP/1.1, plain and over TLS", "closed"


def garbage_frames(target):
    chance = random.Random(7)
    for _ in range(40):
        with tls(target) as connection:
            connection.sendall(PREFACE + frame(4, 0, 0, b""))
            body = chance.randbytes(chance.randint(1, 4000))
            try:
                connection.sendall(frame(chance.randint(0, 12),
                                         chance.randint(0, 255),
                                         chance.randint(0, 9), body) +
                                   chance.randbytes(2000))
            except OSError:
                pass
    return "40 connections of random HTTP/2 frames", "closed; honest calls go on"


def header_bomb(target):
    """One 4 KB header put into HPACK's table and named 16,000 times."""
    before = target.memory_mb()
    with tls(target) as connection:
        connection.sendall(PREFACE + frame(4, 0, 0, b""))
        name, value = b"x", b"a" * 4000
        literal = (b"\x40" + bytes([len(name)]) + name + b"\x7f" +
                   _integer(len(value) - 127) + value)
        block = literal + b"\xbe" * 12_000
        try:
            for stream in range(1, 60, 2):
                connection.sendall(frame(1, 4, stream, block))
        except OSError:
            pass
        # Without an end: CONTINUATION frames for ever.
        try:
            connection.sendall(frame(1, 0, 61, literal))
            for _ in range(300):
                connection.sendall(frame(9, 0, 61, b"\xbe" * 16_000))
        except OSError:
            pass
        ends(connection, 3)
    grown = target.memory_mb() - before
    if grown > 100:
        raise Taken(f"memory grew by {grown:.0f} MB")
    return ("30 header blocks of 48 MB each when unpacked, and endless "
            "CONTINUATION frames"), f"stream errors; memory +{grown:.0f} MB"


def _integer(value):
    out = bytearray()
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    out.append(value)
    return bytes(out)


def giant_metadata(target):
    with target.api() as api:
        call = api.stub("AnchorService", "GetAnchor")
        codes = {refused(lambda size=size: call(
            message("GetAnchorRequest", name="anchors/current"), timeout=10,
            metadata=[("x-giant", "a" * size)]))
            for size in (20_000, 1_000_000, 10_000_000)}
    return "metadata of 20 kB, 1 MB and 10 MB", ", ".join(sorted(codes))


def giant_message(target):
    with target.api(options=[("grpc.max_send_message_length", -1)]) as api:
        code = refused(lambda: api.create(b"{" * (16 << 20)),
                       CODES.RESOURCE_EXHAUSTED)
    return "a manifest of 16 MiB", code


def decompression_bomb(target):
    before = target.memory_mb()
    identity = Identity.of_site(target.sites["mallory"].home)
    codes = set()
    for _ in range(2):
        with Api(target.address, identity,
                 [("grpc.max_send_message_length", -1),
                  ("grpc.default_compression_algorithm", 2)]) as api:
            codes.add(refused(lambda: api.create(b"\0" * (256 << 20),
                                                 timeout=30),
                              CODES.RESOURCE_EXHAUSTED, CODES.INTERNAL,
                              CODES.CANCELLED, CODES.UNIMPLEMENTED))
    grown = target.memory_mb() - before
    if grown > 100:
        raise Taken(f"memory grew by {grown:.0f} MB")
    return "2 messages of 256 MiB, gzipped to 0.25 MiB", \
        f"{', '.join(sorted(codes))}; memory +{grown:.0f} MB"


def malformed_protobuf(target):
    chance = random.Random(11)
    bodies = [b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", b"\x0f", b"\x80" * 12,
              b"\x0a\x05ab", b"\x0b" * 5000 + b"\x0c" * 5000,
              b"\x0a\x02\xff\xfe", *(chance.randbytes(chance.randint(1, 300))
                                     for _ in range(200))]
    codes = []
    with target.api() as api:
        for service, method in (("ContributionService", "CreateContribution"),
                                ("ContributionService", "SubmitContribution"),
                                ("BlobService", "QueryWriteStatus"),
                                ("EnrolmentService", "RenewCertificate"),
                                ("ReleaseService", "ReportEvaluation")):
            for body in bodies:
                codes.append(refused(lambda b=body: api.raw(service, method, b)))
    counts = {code: codes.count(code) for code in sorted(set(codes))}
    return f"{len(codes)} requests that are no protobuf, or random", \
        ", ".join(f"{count} x {code}" for code, count in counts.items())


def path_tricks(target):
    listing = _files(target)
    tricks = ["../../etc/passwd", "..", ".", "a/../b", "/etc/passwd",
              "%2e%2e%2fx", "a\\..\\b", "A", "a b", "a\n", "-a", "a" * 64,
              "\u202ea", "a\0b", ""]
    calls = 0
    digest = "0" * 64
    with target.api() as api:
        for trick in tricks:
            attempts = [
                lambda: api.contribution(trick),
                lambda: api.submit(trick),
                lambda: api.call("ContributionService", "WithdrawContribution",
                                 name=f"contributions/{trick}",
                                 request_id=request_id()),
                lambda: api.call("ReleaseService", "GetRelease",
                                 name=f"releases/{trick}"),
                lambda: api.call("AnchorService", "GetAnchor",
                                 name=f"anchors/{trick}"),
                lambda: api.write(trick, f"blobs/sha256/{digest}/5", b"12345")]
            attempts += [
                lambda n=name: list(api.call("BlobService", "Read",
                                             resource_name=n))
                for name in (f"blobs/sha256/{trick}/5", trick,
                             f"blobs/{trick}/{digest}/5",
                             f"blobs/sha256/{digest}/{trick}")]
            for attempt in attempts:
                refused(attempt, CODES.INVALID_ARGUMENT, CODES.NOT_FOUND)
                calls += 1
        for size in ("-1", "0x10", "1e3", "18446744073709551616", "05", "+5"):
            refused(lambda: list(api.call(
                "BlobService", "Read",
                resource_name=f"blobs/sha256/{digest}/{size}")),
                CODES.INVALID_ARGUMENT, CODES.NOT_FOUND)
            calls += 1
        # Signed manifests with such names.
        key = target.sites["mallory"].home / "identity/contributor.key.pem"
        for trick in tricks:
            statement = open_envelope(target.expert("mallory")[1])
            statement["predicate"]["contribution"] = trick
            statement["subject"][0]["name"] = trick
            refused(lambda: api.create(sign_envelope(statement, key)),
                    CODES.INVALID_ARGUMENT, CODES.UNAUTHENTICATED)
            calls += 1
    if _files(target) != listing:
        raise Taken(f"new files: {_files(target) - listing}")
    return f"{calls} names with paths, escapes, control characters, signs", \
        "INVALID_ARGUMENT or NOT_FOUND; no file appeared"


def _files(target):
    return {path for path in target.root.rglob("*")
            if path.suffix not in (".log", ".sqlite-journal")
            and "sqlite" not in path.name}


def hostile_experts(target):
    """Files that are no experts, under manifests that say they are."""
    key = target.sites["mallory"].home / "identity/contributor.key.pem"
    good, envelope = target.expert("mallory")
    length = struct.unpack("<Q", good[:8])[0]
    header = good[8:8 + length]
    files = {
        "header-of-2-to-63": struct.pack("<Q", 1 << 63) + good[8:],
        "header-bomb": struct.pack("<Q", len(good) - 8) + b"[" * (len(good) - 8),
        "deep": struct.pack("<Q", length) + (b'{"a":' * length)[:length] +
        good[8 + length:],
        "overlap": good[:8] + header.replace(b'"data_offsets":[0,',
                                             b'"data_offsets":[1,', 1) +
        good[8 + length:],
        "pickle": b"\x80\x02cposix\nsystem\n" + good[17:],
        "truncated": good[:1000],
    }
    results = []
    with target.api() as api:
        for name, data in files.items():
            statement = open_envelope(envelope)
            digest = hashlib.sha256(data).hexdigest()
            blob = f"blobs/sha256/{digest}/{len(data)}"
            statement["predicate"] |= {"contribution": name, "blob": blob}
            statement["subject"] = [{"name": name, "digest": {"sha256": digest}}]
            try:
                api.create(sign_envelope(statement, key))
            except grpc.RpcError as error:
                results.append(error.code().name)
                continue
            api.write(name, blob, data, finish=True)
            api.submit(name)
            end = time.monotonic() + 30
            while (one := api.contribution(name)).state < 5:
                if time.monotonic() > end:
                    raise Taken(f"{name}: no decision")
                time.sleep(0.05)
            if one.state != 7:
                raise Taken(f"{name}: state {one.state}, {one.decision}")
            results.append("REJECTED")
    counts = {each: results.count(each) for each in sorted(set(results))}
    return f"{len(files)} hostile safetensors files under signed manifests", \
        ", ".join(f"{count} x {each}" for each, count in counts.items())


def slow_loris(target):
    """Handshakes that never go on, frames byte by byte, silent uploads."""
    silent = [socket.create_connection((target.host, target.port))
              for _ in range(300)]
    slow = [tls(target) for _ in range(50)]
    half_request = PREFACE + frame(4, 0, 0, b"") + frame(1, 0, 1, b"")[:7]
    for connection in slow:
        connection.sendall(half_request)
    stop = threading.Event()

    def nothing():
        stop.wait(60)
        return
        yield  # a stream without a message
    channels = [target.api() for _ in range(4)]
    streams = [api.stub("BlobService", "Write").future(nothing())
               for api in channels for _ in range(75)]
    time.sleep(1)
    try:
        started = time.monotonic()
        for _ in range(5):
            target.still_serves()
        took = (time.monotonic() - started) / 5
    finally:
        stop.set()
        for stream in streams:
            stream.cancel()
        for api in channels:
            api.channel.close()
        for connection in [*silent, *slow]:
            connection.close()
    return ("300 silent connections, 50 that stop within a frame, 300 uploads "
            "without a message"), f"an honest call takes {took * 1000:.0f} ms"


def connection_flood(target):
    limit = 1500
    opened = []
    started = time.monotonic()
    for _ in range(limit):
        try:
            opened.append(socket.create_connection(
                (target.host, target.port), timeout=2))
        except OSError:
            break
    handshakes = 0
    for _ in range(100):
        try:
            tls(target).close()
            handshakes += 1
        except OSError:
            pass
    target.still_serves()
    for connection in opened:
        connection.close()
    took = time.monotonic() - started
    target.still_serves()
    return f"{len(opened)} connections at once, {handshakes} handshakes", \
        f"honest calls answered during and after ({took:.1f} s in all)"


def reflection(target):
    with target.api() as api:
        code = refused(lambda: api.channel.unary_unary(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")(
                b"\x3a\x00", timeout=5), CODES.UNIMPLEMENTED)
    return "a look at the service list by reflection", code


def forged_page_token(target):
    with target.api() as api:
        codes = {refused(lambda t=token: api.call(
            "ContributionService", "ListContributions", page_token=t),
            CODES.INVALID_ARGUMENT) for token in
            ("x", "1", "' OR 1=1 --", "\0", "A" * 5000)}
    return "5 forged page tokens", codes.pop()


ATTACKS = [old_protocols, plain_text, garbage_frames, header_bomb,
           giant_metadata, giant_message, decompression_bomb,
           malformed_protobuf, path_tricks, hostile_experts, slow_loris,
           connection_flood, reflection, forged_page_token]

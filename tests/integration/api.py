"""Calls of the public API from Python, for tests that must send what our own
programs never would. Messages come from the proto files at run time."""

import base64
import functools
import json
import pathlib
import subprocess
import sysconfig
import tempfile
import uuid

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PACKAGE = "tributary.v1"


@functools.cache
def pool():
    """Descriptors of every file of the API."""
    with tempfile.NamedTemporaryFile() as out:
        files = sorted((ROOT / "proto/tributary/v1").glob("*.proto"))
        subprocess.run(
            ["protoc", "--include_imports", f"--descriptor_set_out={out.name}",
             "-I", ROOT / "proto", "-I", sysconfig.get_paths()["purelib"],
             "-I", "/usr/include", *files], check=True)
        described = descriptor_pb2.FileDescriptorSet.FromString(out.read())
    made = descriptor_pool.DescriptorPool()
    for file in described.file:
        made.Add(file)
    return made


@functools.cache
def message_class(full_name):
    return message_factory.GetMessageClass(
        pool().FindMessageTypeByName(full_name))


def message(kind, /, **fields):
    return message_class(f"{PACKAGE}.{kind}")(**fields)


def request_id():
    return str(uuid.uuid4())


class Identity:
    """PEM files of a peer; no key means no client certificate."""

    def __init__(self, ca, certificate=None, key=None):
        self.ca = ca
        self.certificate = certificate
        self.key = key

    @classmethod
    def of_site(cls, home):
        folder = home / "identity"
        return cls(folder / "ca.crt.pem", folder / "contributor.crt.pem",
                   folder / "contributor.key.pem")

    @classmethod
    def of_operator(cls, home):
        keys = home / "keys"
        return cls(keys / "ca.crt.pem", keys / "operator.crt.pem",
                   keys / "operator.key.pem")

    def credentials(self):
        read = lambda path: path.read_bytes() if path else None
        return grpc.ssl_channel_credentials(read(self.ca), read(self.key),
                                            read(self.certificate))


class Api:
    """A channel of one identity. Errors are grpc.RpcError."""

    def __init__(self, address, identity, options=()):
        self.channel = grpc.secure_channel(
            address, identity.credentials(),
            [("grpc.use_local_subchannel_pool", 1),
             ("grpc.enable_http_proxy", 0), *options])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.channel.close()

    def _method(self, service, method):
        found = pool().FindServiceByName(f"{PACKAGE}.{service}")
        return found.FindMethodByName(method)

    def path(self, service, method):
        return f"/{PACKAGE}.{service}/{method}"

    def stub(self, service, method):
        described = self._method(service, method)
        kind = {(False, False): self.channel.unary_unary,
                (True, False): self.channel.stream_unary,
                (False, True): self.channel.unary_stream}[
                    (described.client_streaming, described.server_streaming)]
        answer = message_class(described.output_type.full_name)
        return kind(self.path(service, method),
                    request_serializer=lambda m: m.SerializeToString(),
                    response_deserializer=answer.FromString)

    def call(self, service, method, timeout=20, **fields):
        described = self._method(service, method)
        request = message_class(described.input_type.full_name)(**fields)
        return self.stub(service, method)(request, timeout=timeout)

    def raw(self, service, method, data, timeout=20):
        """A unary call with any bytes as its request."""
        return self.channel.unary_unary(self.path(service, method))(
            data, timeout=timeout)

    # Uploads.

    def write(self, contribution, blob, data, offset=0, piece=1 << 20,
              finish=False, timeout=60):
        """Sends data from `offset` in pieces; returns the committed size."""
        def messages():
            position = offset
            while True:
                end = min(position + piece, offset + len(data))
                yield message(
                    "WriteRequest", resource_name=blob,
                    contribution=f"contributions/{contribution}",
                    write_offset=position,
                    data=data[position - offset:end - offset],
                    finish_write=finish and end == offset + len(data))
                position = end
                if position >= offset + len(data):
                    return
        answer = self.stub("BlobService", "Write")(messages(), timeout=timeout)
        return answer.committed_size

    def committed(self, contribution, blob, timeout=5):
        return self.call("BlobService", "QueryWriteStatus", timeout,
                         resource_name=blob,
                         contribution=f"contributions/{contribution}")

    def create(self, envelope, **fields):
        fields.setdefault("request_id", request_id())
        return self.call("ContributionService", "CreateContribution",
                         manifest_envelope_json=envelope, **fields)

    def submit(self, contribution, **fields):
        fields.setdefault("request_id", request_id())
        return self.call("ContributionService", "SubmitContribution",
                         name=f"contributions/{contribution}", **fields)

    def contribution(self, contribution):
        return self.call("ContributionService", "GetContribution",
                         name=f"contributions/{contribution}")


def state_of(contribution):
    field = contribution.DESCRIPTOR.fields_by_name["state"]
    return field.enum_type.values_by_number[contribution.state].name


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *[str(a) for a in arguments]],
                          input=data, capture_output=True, check=True).stdout


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":"),
                      ensure_ascii=False).encode()


def open_envelope(envelope):
    """The statement inside a DSSE envelope."""
    return json.loads(base64.b64decode(json.loads(envelope)["payload"]))


def sign_envelope(statement, key):
    """A DSSE envelope over any statement, signed with a PEM key file."""
    kind = b"application/vnd.in-toto+json"
    payload = canonical(statement)
    encoded = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    signature = openssl("dgst", "-sha256", "-sign", key, data=encoded)
    public = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")
    key_id = openssl("dgst", "-sha256", "-r", data=public).split()[0].decode()
    return canonical({
        "payloadType": kind.decode(),
        "payload": base64.b64encode(payload).decode(),
        "signatures": [{"keyid": f"sha256:{key_id}",
                        "sig": base64.b64encode(signature).decode()}]})

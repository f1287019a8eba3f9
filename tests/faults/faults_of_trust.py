"""Faults of identities and requests: certificates, repeats, replays, twins."""

import base64
import json
import shutil
import threading

import grpc

from faults import Fault
from phases import OK, REFUSED, STATE
from world import (NEWCOMER, Api, Identity, open_envelope, openssl,
                   request_id)

CODES = grpc.StatusCode


def refused(call, *codes):
    """The call must fail with one of these codes."""
    try:
        answer = call()
    except grpc.RpcError as error:
        assert error.code() in codes, f"{error.code()}: {error.details()}"
        return error
    raise AssertionError(f"taken: {answer}, wanted one of {codes}")


class CertificateRotated(Fault):
    name = "certificate rotated"

    def strike(self, world, phase, process):
        if phase.actor in ("b", "c") and world.random.random() < 0.5:
            self.renew(world, phase.actor)
        else:
            self.rotate_server(world)

    def renew(self, world, name):
        """A site takes a new certificate into use, as its daemon does."""
        folder = world.sites[name].home / "identity"
        key = folder / "contributor.key.pem"
        signing = openssl("req", "-new", "-key", key, "-subj", f"/CN={name}")
        with world.api(name) as api:
            answer = api.call("EnrolmentService", "RenewCertificate",
                              request_id=request_id(),
                              certificate_signing_request_pem=signing.decode())
        (folder / "contributor.crt.pem").write_text(answer.certificate_pem)

    def rotate_server(self, world):
        keys = world.coordinator.home / "keys"
        key, request = world.root / "server.key", world.root / "server.csr"
        extensions = world.root / "server.ext"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-out", key)
        openssl("req", "-new", "-key", key, "-subj", "/CN=server", "-out", request)
        extensions.write_text(
            "subjectAltName=URI:spiffe://test/coordinator,DNS:localhost,"
            "IP:127.0.0.1\nextendedKeyUsage=serverAuth\n"
            "keyUsage=critical,digitalSignature\n"
            "basicConstraints=critical,CA:false\n")
        openssl("x509", "-req", "-in", request, "-CA", keys / "ca.crt.pem",
                "-CAkey", keys / "ca.key.pem", "-CAcreateserial", "-days", 30,
                "-extfile", extensions, "-out", keys / "server.crt.pem")
        (keys / "ca.crt.srl").unlink(missing_ok=True)
        (keys / "ca.srl").unlink(missing_ok=True)
        shutil.copyfile(key, keys / "server.key.pem")
        world.restart()


class CertificateRevoked(Fault):
    """The owner is revoked: refused on the next call, what others rely on
    stays."""

    name = "certificate revoked"

    def strike(self, world, phase, process):
        self.owner = (phase.actor if phase.actor != "operator" else "c")
        self.must_end = phase.actor == "operator"
        world.operator("AdminService", "RevokeContributor",
                       request_id=request_id(), name=f"contributors/{self.owner}")
        if (world.sites[self.owner].home / "identity/contributor.crt.pem").exists():
            with world.api(self.owner) as api:
                refused(lambda: api.call("AnchorService", "GetAnchor",
                                         name="anchors/current"),
                        CODES.PERMISSION_DENIED)

    def judge(self, world, phase, code):
        if not self.must_end:
            assert code in (OK, REFUSED), f"exit code {code}"

    def settle(self, world, phase):
        if phase.name not in ("enrol", "withdraw", "purge"):
            site = world.sites[self.owner]
            code = world.run(site, "release", "fetch", "latest", "--output",
                             world.root / "refused")
            assert code == REFUSED, f"a revoked site got {code}"


class DuplicateRequest(Fault):
    name = "duplicate request id"
    only = {"enrol", "upload", "submit", "accept", "merge", "withdraw"}

    def arm(self, world, phase):
        self.id = request_id()
        self.answers, self.errors = [], []

    def body(self, world, phase):
        if phase.name == "enrol":
            invitation = json.loads(
                (world.root / f"{NEWCOMER}.invitation.json").read_text())
            key = world.root / "twin.key.pem"
            openssl("genpkey", "-algorithm", "EC", "-pkeyopt",
                    "ec_paramgen_curve:P-256", "-out", key)
            return ("EnrolmentService", "Enrol", {
                "contributor_id": NEWCOMER,
                "invitation_secret": bytes.fromhex(invitation["secret"]),
                "certificate_signing_request_pem":
                    openssl("req", "-new", "-key", key, "-subj", "/CN=d")})
        if phase.name == "upload":
            return ("ContributionService", "CreateContribution",
                    {"manifest_envelope_json": world.expert("c")[2]})
        return phase.request

    def caller(self, world, phase):
        if phase.name == "enrol":
            return Api(world.direct, Identity(
                world.sites["a"].home / "identity/ca.crt.pem"))
        return world.api(phase.actor)

    def strike(self, world, phase, process):
        service, method, fields = self.body(world, phase)

        def send():
            with self.caller(world, phase) as api:
                try:
                    self.answers.append(api.call(
                        service, method, request_id=self.id, **fields))
                except grpc.RpcError as error:
                    self.errors.append(error)
        twins = [threading.Thread(target=send) for _ in range(3)]
        for twin in twins:
            twin.start()
        for twin in twins:
            twin.join()
        # One result for all: none of the repeats did anything of its own.
        assert not (self.answers and self.errors), (self.answers, self.errors)
        names = {getattr(answer, "name", "") or
                 getattr(answer, "certificate_pem", "")
                 for answer in self.answers}
        assert len(names) <= 1, names
        if self.answers:
            with self.caller(world, phase) as api:
                other = ({"contributor_id": "somebody-else"}
                         if phase.name == "enrol" else
                         {"manifest_envelope_json": b"{}"}
                         if phase.name == "upload" else
                         {"router_mode": "trained"} if phase.name == "merge"
                         else {"name": "contributions/other"})
                refused(lambda: api.call(
                    service, method, request_id=self.id, **{**fields, **other}),
                    CODES.INVALID_ARGUMENT, CODES.UNAUTHENTICATED)
        self.must_end = not (phase.name == "enrol" and self.answers)

    def settle(self, world, phase):
        if phase.name == "merge":
            built = world.query("SELECT count(*) FROM releases WHERE number > 1")
            assert built[0][0] <= 2, f"{built[0][0]} releases of two requests"


class ReplayedManifest(Fault):
    name = "replayed manifest"
    only = {"upload", "finish", "submit", "validate", "accept", "withdraw",
            "purge"}

    def strike(self, world, phase, process):
        envelope = world.expert(phase.subject)[2]
        other = "a"
        with world.api(other) as api:
            refused(lambda: api.create(envelope), CODES.UNAUTHENTICATED,
                    CODES.INVALID_ARGUMENT)
        # The same signature under another name.
        statement = open_envelope(envelope)
        statement["predicate"]["contribution"] = "another"
        statement["subject"][0]["name"] = "another"
        changed = json.loads(envelope)
        changed["payload"] = base64.b64encode(
            json.dumps(statement, separators=(",", ":"),
                       sort_keys=True).encode()).decode()
        with world.api(phase.subject) as api:
            refused(lambda: api.create(json.dumps(changed).encode()),
                    CODES.UNAUTHENTICATED, CODES.INVALID_ARGUMENT)

    def settle(self, world, phase):
        # By its owner, once more: nothing changes, nothing comes back.
        before = world.state(phase.subject)
        with world.api(phase.subject) as api:
            try:
                api.create(world.expert(phase.subject)[2])
            except grpc.RpcError as error:
                assert error.code() in (CODES.FAILED_PRECONDITION,
                                        CODES.ALREADY_EXISTS), error
        assert world.state(phase.subject) == before
        assert world.state("another") is None


class TwoWriters(Fault):
    name = "two writers"

    def arm(self, world, phase):
        self.twin = None
        if phase.name == "enrol":
            # Two machines with one invitation.
            twin = world.root / "twin"
            self.twin = world.start(
                type(world.sites["a"])(world.binaries, twin), "init",
                "--invite", world.root / f"{NEWCOMER}.invitation.json",
                "--train", "/dev/null", "--width", 128, "--retry-for", "5s")
            return
        if phase.actor == "operator":
            self.twin = phase.start(world)
            assert world.run(world.coordinator, "serve") == STATE
            return
        # A copy of the home on another machine.
        site = world.sites[phase.actor]
        copy = world.root / "twin"
        shutil.copytree(site.home, copy)
        world.sites[phase.actor] = type(site)(world.binaries, copy)
        self.twin = phase.start(world)
        world.sites[phase.actor] = site

    def heal(self, world, phase, process):
        process.wait(90)
        self.twin.wait(90)
        if phase.name == "enrol":
            codes = {process.returncode, self.twin.returncode}
            assert codes == {OK, REFUSED}, codes
            self.must_end = process.returncode == OK

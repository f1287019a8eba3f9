"""Attempts with certificates, names and signatures."""

import base64
import json
import subprocess

from api import Api, Identity, message, open_envelope, sign_envelope
from target import CODES, Taken, openssl, refused, request_id

HONEST = "spiffe://test/contributor/honest"
NOTHING_IN = (CODES.UNAUTHENTICATED, CODES.UNAVAILABLE)


def read_anchor(target, identity):
    with Api(target.address, identity) as api:
        return refused(lambda: api.call("AnchorService", "GetAnchor",
                                        name="anchors/current", timeout=5),
                       *NOTHING_IN)


def no_certificate(target):
    with target.api(None) as api:
        code = refused(lambda: api.call("AnchorService", "GetAnchor",
                                        name="anchors/current"),
                       CODES.UNAUTHENTICATED)
    return "a call without a client certificate", code


def foreign_certificate(target):
    identity = target.certificate("foreign", [HONEST], target.foreign_ca())
    return "a certificate of another CA with an honest SAN", \
        read_anchor(target, identity)


def expired_certificate(target):
    identity = target.certificate("expired", [HONEST], days="0")
    return "an expired certificate of the right CA", \
        read_anchor(target, identity)


def odd_names(target):
    codes = {read_anchor(target, target.certificate(name, uris))
             for name, uris in (
                 ("no-san", []),
                 ("two-sans", [HONEST, "spiffe://test/operator/operator"]),
                 ("federation", ["spiffe://other/contributor/honest"]),
                 ("role", ["spiffe://test/root/honest"]),
                 ("signer", ["spiffe://test/signer"]),
                 ("path", ["spiffe://test/contributor/../operator/x"]),
                 ("unknown", ["spiffe://test/contributor/nobody"]))}
    return ("7 certificates of the right CA: no SAN, two, another federation, "
            "unknown role, signer, a path, an unknown id"), ", ".join(codes)


def contributor_as_operator(target):
    with target.api() as api:
        codes = {refused(lambda m=method, f=fields: api.call(
            "AdminService", m, **f), CODES.PERMISSION_DENIED)
            for method, fields in (
                ("GetStatus", {}), ("ListContributors", {}),
                ("CollectGarbage", {}),
                ("CreateInvitation", {"request_id": request_id(),
                                      "contributor_id": "friend"}),
                ("RevokeContributor", {"request_id": request_id(),
                                       "name": "contributors/honest"}),
                ("DecideContribution", {"request_id": request_id(), "outcome": 1,
                                        "name": "contributions/mallory"}),
                ("BuildRelease", {"request_id": request_id()}))}
    return "7 operators' calls with a contributor's certificate", codes.pop()


def other_operators(target):
    replaced = []
    for part in ("crt", "key"):
        replaced.append(target.root / f"replaced-operator.{part}.pem")
        replaced[-1].write_bytes(
            (target.keys / f"operator.{part}.pem").read_bytes())
    target.coordinator("rotate", "operator")
    forged = target.certificate("operator", ["spiffe://test/operator/operator"])
    codes = set()
    for identity in (forged, Identity(target.ca, *replaced)):
        with Api(target.address, identity) as api:
            codes.add(refused(lambda a=api: a.call("AdminService", "GetStatus"),
                              CODES.PERMISSION_DENIED))
    target.coordinator("status")
    return ("an operator's certificate of the right CA for another key, and the "
            "operator's own one after `rotate operator`"), codes.pop()


def another_ones_contribution(target):
    name = "contributions/honest"
    blob = open_envelope(target.expert("honest")[1])["predicate"]["blob"]
    with target.api() as api:
        attempts = [
            lambda: api.contribution("honest"),
            lambda: api.submit("honest"),
            lambda: api.committed("honest", blob),
            lambda: api.write("honest", blob, b"x" * 100),
            lambda: api.call("BlobService", "FindMissingBlobs",
                             contribution=name, blobs=[blob]),
            lambda: api.call("ContributionService", "WithdrawContribution",
                             name=name, request_id=request_id()),
            lambda: api.call("ContributionService", "GetWithdrawal",
                             name="withdrawals/honest"),
            lambda: list(api.call("ContributionService", "WatchContribution",
                                  name=name))]
        codes = {refused(attempt, CODES.NOT_FOUND) for attempt in attempts}
    return "8 calls about another contributor's contribution", codes.pop()


def another_ones_blob(target):
    blob = open_envelope(target.expert("honest")[1])["predicate"]["blob"]
    unknown = "blobs/sha256/" + "0" * 64 + "/5"
    with target.api() as api:
        answers = []
        for name in (blob, unknown):
            try:
                list(api.call("BlobService", "Read", resource_name=name))
                raise Taken(f"read {name}")
            except Exception as error:
                if isinstance(error, Taken):
                    raise
                answers.append((error.code(),
                                error.details().replace(name, "NAME")))
    if answers[0] != answers[1]:
        raise Taken(f"an existing blob answers {answers[0]}, another one "
                    f"{answers[1]}")
    return "reading another one's unreleased expert by its digest", \
        f"{answers[0][0].name}, as for a digest that nobody has"


def forged_approval(target):
    """On site: an approval written by hand, without the approver's command."""
    site = target.sites["mallory"]
    folder = site.home / "egress" / "mallory"
    kept = {path: path.read_bytes() for path in folder.iterdir()}
    results = []
    try:
        # A changed report under the old approval.
        report = json.loads(kept[folder / "report.json"])
        text = (folder / "report.json").read_text()
        (folder / "report.json").write_text(text.replace(
            '"mallory"', '"mallori"', 1) if '"mallory"' in text
            else json.dumps({**report, "x": 1}))
        results.append(run_code(site, "submit"))
        (folder / "report.json").write_bytes(kept[folder / "report.json"])
        # An approval of another expert file.
        data = bytearray(kept[folder / "expert.safetensors"])
        data[-1] ^= 1
        (folder / "expert.safetensors").unlink()
        (folder / "expert.safetensors").write_bytes(data)
        results.append(run_code(site, "submit"))
    finally:
        for path, content in kept.items():
            path.unlink(missing_ok=True)
            path.write_bytes(content)
    # At the coordinator: the approver's name changed under the signature.
    statement = open_envelope(target.expert("mallory")[1])
    statement["predicate"]["approval"]["approver"] = "somebody else"
    envelope = json.loads(target.expert("mallory")[1])
    envelope["payload"] = base64.b64encode(json.dumps(
        statement, sort_keys=True, separators=(",", ":")).encode()).decode()
    with target.api() as api:
        code = refused(lambda: api.create(json.dumps(envelope).encode()),
                       CODES.UNAUTHENTICATED, CODES.INVALID_ARGUMENT)
    if 0 in results:
        raise Taken(f"submit ended with {results}")
    return ("a report and an expert changed after approval; another approver "
            "under the old signature"), \
        f"exit codes {results[0]} and {results[1]}; {code}"


def run_code(site, *arguments):
    return subprocess.run([str(site.program), "--home", str(site.home),
                           *arguments], capture_output=True, check=False,
                          timeout=60).returncode


def replayed_manifest(target):
    envelope = target.expert("honest")[1]
    statement = open_envelope(envelope)
    statement["predicate"]["contribution"] = "stolen"
    statement["subject"][0]["name"] = "stolen"
    own_key = target.sites["mallory"].home / "identity/contributor.key.pem"
    with target.api() as api:
        codes = {refused(lambda e=each: api.create(e), CODES.UNAUTHENTICATED,
                         CODES.INVALID_ARGUMENT)
                 for each in (envelope, sign_envelope(statement, own_key))}
    return ("an honest manifest as one's own, and signed anew with the own "
            "key"), ", ".join(sorted(codes))


def stolen_request_id(target):
    used = request_id()
    with target.api() as api:
        api.create(target.expert("mallory")[1], request_id=used,
                   validate_only=False)
        code = refused(lambda: api.create(b"{}", request_id=used),
                       CODES.INVALID_ARGUMENT)
    return "a request id again with another body", code


def invitation_guesses(target):
    with target.api(None) as api:
        key = target.root / "guess.pem"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-out", key)
        signing = openssl("req", "-new", "-key", key, "-subj", "/CN=honest")
        codes = [refused(lambda i=i: api.call(
            "EnrolmentService", "Enrol", request_id=request_id(),
            contributor_id="honest", invitation_secret=bytes([i]) * 32,
            certificate_signing_request_pem=signing),
            CODES.UNAUTHENTICATED, CODES.RESOURCE_EXHAUSTED,
            CODES.UNAVAILABLE) for i in range(60)]
    counts = {code: codes.count(code) for code in dict.fromkeys(codes)}
    return "60 guessed invitation secrets", \
        ", ".join(f"{count} x {code}" for code, count in counts.items())


def greedy_signing_request(target):
    """A signing request that asks for the operator's name."""
    invitation = json.loads(target.coordinator.invite("greedy").read_text())
    key = target.root / "greedy.pem"
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-out", key)
    signing = openssl(
        "req", "-new", "-key", key, "-subj", "/CN=operator", "-addext",
        "subjectAltName=URI:spiffe://test/operator/operator", "-addext",
        "basicConstraints=critical,CA:true")
    with target.api(None) as api:
        try:
            answer = api.call(
                "EnrolmentService", "Enrol", request_id=request_id(),
                contributor_id="greedy",
                invitation_secret=bytes.fromhex(invitation["secret"]),
                certificate_signing_request_pem=signing)
        except Exception as error:
            return "a signing request for the operator's name and a CA", \
                error.code().name
    text = openssl("x509", "-noout", "-text",
                   data=answer.certificate_pem.encode()).decode()
    if "operator" in text or "CA:TRUE" in text:
        raise Taken(text)
    return "a signing request for the operator's name and a CA", \
        "a plain contributor's certificate"


def revoked_on_a_live_channel(target):
    site = target.sites["mallory"]
    with target.api() as api:
        api.create(target.expert("mallory")[1])
        watch = api.stub("ContributionService", "WatchContribution")(
            message("WatchContributionRequest", name="contributions/mallory"),
            timeout=30)
        next(iter(watch))
        target.coordinator("contributor", "revoke", "mallory")
        code = refused(lambda: api.call("AnchorService", "GetAnchor",
                                        name="anchors/current"),
                       CODES.PERMISSION_DENIED)
        stream = refused(lambda: [each for each in watch],
                         CODES.PERMISSION_DENIED)
    if run_code(site, "release", "list") == 0:
        raise Taken("a revoked contributor lists releases")
    return "a revoked certificate on a connection that stands, and its stream", \
        f"{code} on the next call, {stream} on the stream"


ATTACKS = [no_certificate, foreign_certificate, expired_certificate, odd_names,
           contributor_as_operator, other_operators, another_ones_contribution,
           another_ones_blob, forged_approval, replayed_manifest,
           stolen_request_id, greedy_signing_request,
           invitation_guesses]
LAST = [revoked_on_a_live_channel]

"""The federation under attack: a real coordinator, an honest contributor with
an accepted expert, and an attacker who is a contributor as well."""

import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent /
                       "integration"))

import grpc  # noqa: E402

from api import Api, Identity, openssl, request_id  # noqa: E402,F401
from federation import Contributor, Coordinator  # noqa: E402

CODES = grpc.StatusCode


class Taken(AssertionError):
    """An attempt was not refused."""


def refused(call, *codes):
    """The status of a call that must fail with one of the codes."""
    try:
        answer = call()
    except grpc.RpcError as error:
        if codes and error.code() not in codes:
            raise Taken(f"{error.code().name}: {error.details()}, wanted "
                        f"{[code.name for code in codes]}") from error
        return error.code().name
    raise Taken(f"answered: {str(answer)[:200]}")


class Target:
    def __init__(self, binaries):
        self.binaries = binaries
        self.folder = tempfile.TemporaryDirectory(prefix="attack-")
        self.root = pathlib.Path(self.folder.name)
        self.coordinator = Coordinator(binaries, self.root / "coordinator")
        self.sites = {}
        try:
            self.prepare(binaries)
        except BaseException:
            self.coordinator.stop()
            raise

    def prepare(self, binaries):
        self.coordinator.init()
        self.coordinator.serve()
        self.coordinator.publish()
        for name, text in (("honest", "domain_a"), ("mallory", "domain_b")):
            site = Contributor(binaries, self.root / f"site-{name}")
            site.init(self.coordinator.invite(name), text, 128)
            config = site.home / "contributor.textproto"
            config.write_text(config.read_text().replace(
                "\ndata {\n", "\ndata {\n  max_train_windows: 32\n", 1))
            site("export")
            self.sites[name] = site
        self.sites["honest"]("run", "--once")
        self.address = (self.coordinator.home / "address").read_text().strip()
        self.host, port = self.address.rsplit(":", 1)
        self.port = int(port)
        self.keys = self.coordinator.home / "keys"
        self.ca = self.keys / "ca.crt.pem"

    def close(self):
        code = self.coordinator.stop()
        self.folder.cleanup()
        if code != 0:
            raise Taken(f"the coordinator ended with {code} on SIGTERM")

    def api(self, who="mallory", **options):
        identity = (Identity.of_operator(self.coordinator.home)
                    if who == "operator" else Identity(self.ca)
                    if who is None else
                    Identity.of_site(self.sites[who].home))
        return Api(self.address, identity, **options)

    def expert(self, who):
        folder = self.sites[who].home / "egress" / who
        return ((folder / "expert.safetensors").read_bytes(),
                (folder / "manifest.dsse.json").read_bytes())

    def still_serves(self):
        """An honest call is answered, on a connection of its own."""
        with self.api("honest") as api:
            api.call("AnchorService", "GetAnchor", name="anchors/current",
                     timeout=20)

    def memory_mb(self):
        status = pathlib.Path(
            f"/proc/{self.coordinator.process.pid}/status").read_text()
        line = next(line for line in status.splitlines()
                    if line.startswith("VmRSS"))
        return int(line.split()[1]) / 1024

    def certificate(self, name, uris, ca=None, days="30", client=True):
        """A certificate for a key of the attacker's own. `ca` is (certificate,
        key); default: the federation's CA, as if it had been tricked."""
        folder = self.root / f"forged-{name}"
        folder.mkdir(exist_ok=True)
        key, certificate = folder / "key.pem", folder / "crt.pem"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-out", key)
        openssl("req", "-new", "-key", key, "-subj", f"/CN={name}", "-out",
                folder / "csr.pem")
        usage = "clientAuth" if client else "serverAuth"
        names = ",".join(f"URI:{uri}" for uri in uris)
        (folder / "ext").write_text(
            (f"subjectAltName={names}\n" if uris else "") +
            f"extendedKeyUsage={usage}\nbasicConstraints=critical,CA:false\n"
            "keyUsage=critical,digitalSignature\n")
        signer = ca or (self.ca, self.keys / "ca.key.pem")
        openssl("x509", "-req", "-in", folder / "csr.pem", "-CA", signer[0],
                "-CAkey", signer[1], "-set_serial", "99", "-days", days,
                "-extfile", folder / "ext", "-out", certificate)
        return Identity(self.ca, certificate, key)

    def foreign_ca(self):
        folder = self.root / "foreign-ca"
        folder.mkdir(exist_ok=True)
        key, certificate = folder / "key.pem", folder / "crt.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt",
                "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out",
                certificate, "-days", "30", "-subj", "/CN=test")
        return certificate, key

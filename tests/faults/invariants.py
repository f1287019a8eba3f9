"""What must hold after every scenario, read from the coordinator's own files
once it has collected garbage and stopped."""

import json

from world import merged_digest, sha256

SERVED = ("PUBLISHED", "SUPERSEDED")
GONE = ("WITHDRAWN", "PURGED")


def check_accepted_bytes(world):
    """Accepted implies bytes on disk that hash to their name."""
    blobs = world.coordinator.home / "blobs" / "sha256"
    for name, blob in world.query("SELECT id, blob FROM contributions "
                                  "WHERE state = 'ACCEPTED'"):
        digest, size = blob.split("/")[2:]
        path = blobs / digest[:2] / digest
        assert path.exists(), f"{name} is accepted, {blob} is not there"
        assert path.stat().st_size == int(size), f"{name}: size of {blob}"
        assert sha256(path) == digest, f"{name}: bytes of {blob}"


def check_no_orphans(world):
    """No row without its file, no file without its row."""
    home = world.coordinator.home
    stored = {path.name for path in (home / "blobs").rglob("*")
              if path.is_file()}
    rows = {name.split("/")[2] for (name,) in
            world.query("SELECT name FROM blobs")}
    assert stored == rows, f"files {stored - rows}, rows {rows - stored}"
    unowned = world.query("SELECT name FROM blobs WHERE name NOT IN "
                          "(SELECT blob FROM blob_references)")
    assert not unowned, f"kept for nobody: {unowned}"
    states = {f"contributions/{name}": state for name, state in
              world.query("SELECT id, state FROM contributions")}
    states |= {f"releases/{number}": state for number, state in
               world.query("SELECT number, state FROM releases")}
    states |= {f"anchors/{name}": "PUBLISHED" for (name,) in
               world.query("SELECT id FROM anchors")}
    for blob, owner in world.query("SELECT blob, owner FROM blob_references"):
        assert states.get(owner) not in (None, *GONE, "FAILED"), \
            f"{blob} is kept for {owner}, which is {states.get(owner)}"
    uploads = {row[0]: row[1:] for row in world.query(
        "SELECT upload_id, contribution, complete FROM uploads")}
    partials = {path.name for path in (home / "uploads").iterdir()}
    assert partials <= {upload for upload, (_, complete) in uploads.items()
                        if not complete}, f"partials {partials}"
    for upload, (contribution, _) in uploads.items():
        assert states[f"contributions/{contribution}"] not in GONE, upload
    folders = {path.name for path in (home / "releases").glob("*")}
    served = {name.split("/")[1] for name, state in states.items()
              if name.startswith("releases/") and state in SERVED}
    # After restoring a backup they are made again when they are needed.
    assert folders <= served if world.restored else folders == served, \
        f"release folders {folders}, served {served}"
    assert not list((home / "jobs").glob("*")), "a job left its folder"


def check_releases(world, snapshots_root):
    """Digests are a pure function of the accepted set; nothing withdrawn is
    served."""
    gone = {row[0] for row in world.query(
        "SELECT id FROM contributions WHERE state IN ('WITHDRAWN', 'PURGED')")}
    for number, digest, text in world.query(
            "SELECT number, digest, manifest_json FROM releases "
            "WHERE state IN ('PUBLISHED', 'SUPERSEDED')"):
        experts = [entry["contribution"]
                   for entry in json.loads(text)["experts"]]
        listed = {row[0] for row in world.query(
            "SELECT contribution FROM release_experts WHERE release = ?",
            number)}
        assert set(experts) == listed, f"release {number}: {experts}, {listed}"
        assert not gone & listed, f"release {number} serves {gone & listed}"
        wanted = merged_digest(world.binaries, snapshots_root, experts)
        assert digest == wanted, f"release {number}: {digest}, wanted {wanted}"


def check_accepted_kept(world, before, phase, ended):
    """Nothing accepted is lost; what had to be accepted is."""
    now = world.accepted()
    may_go = {phase.subject} if phase.name in ("withdraw", "purge") else set()
    assert before - may_go <= now, f"accepted were {before}, now {now}"
    if ended:
        assert now == phase.members(), f"{now}, wanted {phase.members()}"


def check_all(world, snapshots_root, before, phase, ended):
    assert world.run(world.coordinator, "gc") == 0
    code = world.coordinator.stop()
    assert code == 0, f"the coordinator ended with {code} on SIGTERM"
    check_accepted_bytes(world)
    check_no_orphans(world)
    check_releases(world, snapshots_root)
    check_accepted_kept(world, before, phase, ended)
    assert world.run(world.coordinator, "audit", "verify") == 0, \
        "the audit log does not verify"

#include "coordinator/storage/schema.h"

namespace tributary::coordinator {
namespace {

// Times are seconds since the Unix epoch. States are the names of the public
// API's enum values.
constexpr char kVersion1[] = R"sql(
CREATE TABLE contributors (
  id TEXT PRIMARY KEY,
  state TEXT NOT NULL CHECK (state IN ('INVITED', 'ENROLLED', 'REVOKED')),
  create_time_s INTEGER NOT NULL,
  certificate_expire_time_s INTEGER NOT NULL DEFAULT 0
) STRICT;

-- Only a hash of the secret is kept.
CREATE TABLE invitations (
  secret_sha256 TEXT PRIMARY KEY,
  contributor TEXT NOT NULL REFERENCES contributors (id),
  create_time_s INTEGER NOT NULL,
  expire_time_s INTEGER NOT NULL,
  use_time_s INTEGER
) STRICT;

-- Every certificate ever issued to a contributor: their keys sign manifests.
CREATE TABLE certificates (
  serial TEXT PRIMARY KEY,
  contributor TEXT NOT NULL REFERENCES contributors (id),
  key_id TEXT NOT NULL,
  pem TEXT NOT NULL,
  create_time_s INTEGER NOT NULL,
  expire_time_s INTEGER NOT NULL
) STRICT;
CREATE INDEX certificates_by_key ON certificates (contributor, key_id);

CREATE TABLE anchors (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  digest TEXT NOT NULL UNIQUE,
  import_digest TEXT NOT NULL,
  manifest_json TEXT NOT NULL,
  envelope_json TEXT NOT NULL,
  create_time_s INTEGER NOT NULL
) STRICT;

CREATE TABLE contributions (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  id TEXT NOT NULL UNIQUE,
  contributor TEXT NOT NULL REFERENCES contributors (id),
  state TEXT NOT NULL,
  anchor_digest TEXT NOT NULL REFERENCES anchors (digest),
  blob TEXT NOT NULL,
  manifest_digest TEXT NOT NULL,
  manifest_json TEXT NOT NULL,
  envelope_json TEXT NOT NULL,
  decision_json TEXT NOT NULL DEFAULT '',
  create_time_s INTEGER NOT NULL,
  update_time_s INTEGER NOT NULL
) STRICT;
CREATE INDEX contributions_by_contributor
  ON contributions (contributor, sequence);
CREATE INDEX contributions_by_state ON contributions (state);

-- One row per blob of a contribution, from its first byte to its purge.
CREATE TABLE uploads (
  contribution TEXT NOT NULL REFERENCES contributions (id),
  blob TEXT NOT NULL,
  upload_id TEXT NOT NULL UNIQUE,
  size_bytes INTEGER NOT NULL,
  committed_size INTEGER NOT NULL,
  complete INTEGER NOT NULL CHECK (complete IN (0, 1)),
  epoch INTEGER NOT NULL,
  expire_time_s INTEGER NOT NULL,
  PRIMARY KEY (contribution, blob)
) STRICT;

-- What keeps a blob: owners are anchors/x, contributions/x, releases/n.
CREATE TABLE blobs (
  name TEXT PRIMARY KEY,
  size_bytes INTEGER NOT NULL,
  create_time_s INTEGER NOT NULL
) STRICT;
CREATE TABLE blob_references (
  blob TEXT NOT NULL REFERENCES blobs (name),
  owner TEXT NOT NULL,
  PRIMARY KEY (blob, owner)
) STRICT;
CREATE INDEX blob_references_by_owner ON blob_references (owner);

CREATE TABLE releases (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  state TEXT NOT NULL,
  anchor_digest TEXT NOT NULL REFERENCES anchors (digest),
  router_mode TEXT NOT NULL,
  digest TEXT NOT NULL DEFAULT '',
  manifest_json TEXT NOT NULL DEFAULT '',
  envelope_json TEXT NOT NULL DEFAULT '',
  reason TEXT NOT NULL DEFAULT '',
  create_time_s INTEGER NOT NULL
) STRICT;
CREATE TABLE release_experts (
  release INTEGER NOT NULL REFERENCES releases (number),
  contribution TEXT NOT NULL REFERENCES contributions (id),
  PRIMARY KEY (release, contribution)
) STRICT;
CREATE INDEX release_experts_by_contribution
  ON release_experts (contribution);
CREATE TABLE evaluations (
  release INTEGER NOT NULL REFERENCES releases (number),
  evaluator TEXT NOT NULL,
  text_label TEXT NOT NULL,
  model TEXT NOT NULL,
  log_loss REAL NOT NULL,
  tokens INTEGER NOT NULL,
  PRIMARY KEY (release, evaluator, text_label, model)
) STRICT;

CREATE TABLE withdrawals (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  contribution TEXT NOT NULL UNIQUE REFERENCES contributions (id),
  state TEXT NOT NULL CHECK (state IN ('WITHDRAWN', 'REBUILT', 'PURGED')),
  anchor_digest TEXT NOT NULL,
  new_release INTEGER REFERENCES releases (number),
  deleted_blobs TEXT NOT NULL DEFAULT '',
  receipt_json TEXT NOT NULL,
  final_receipt_json TEXT NOT NULL DEFAULT '',
  create_time_s INTEGER NOT NULL,
  purge_time_s INTEGER NOT NULL,
  error_code INTEGER NOT NULL DEFAULT 0,
  error_message TEXT NOT NULL DEFAULT ''
) STRICT;
-- The releases that a withdrawal took out of service.
CREATE TABLE withdrawn_releases (
  contribution TEXT NOT NULL REFERENCES withdrawals (contribution),
  release INTEGER NOT NULL REFERENCES releases (number),
  PRIMARY KEY (contribution, release)
) STRICT;

CREATE TABLE audit (
  position INTEGER PRIMARY KEY,
  record_json TEXT NOT NULL,
  hash TEXT NOT NULL
) STRICT;

-- Answers that a repeated request gets again.
CREATE TABLE requests (
  caller TEXT NOT NULL,
  request_id TEXT NOT NULL,
  method TEXT NOT NULL,
  body_sha256 TEXT NOT NULL,
  response BLOB NOT NULL,
  create_time_s INTEGER NOT NULL,
  PRIMARY KEY (caller, request_id)
) STRICT;

CREATE TABLE jobs (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  kind TEXT NOT NULL CHECK (kind IN ('validate', 'build_release', 'withdraw')),
  subject TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state IN ('QUEUED', 'RUNNING')),
  due_time_s INTEGER NOT NULL,
  attempts INTEGER NOT NULL DEFAULT 0,
  create_time_s INTEGER NOT NULL,
  UNIQUE (kind, subject)
) STRICT;
)sql";

// Policies of single contributors, withdrawals that the operator asked for, and
// indexes for what every call looks up, so that it does not slow down as the
// tables grow.
constexpr char kVersion2[] = R"sql(
-- The state of SHA-256 at committed_size, so that hashing goes on at once.
ALTER TABLE uploads ADD COLUMN hash_state TEXT NOT NULL DEFAULT '';

-- NULL: as the configuration says for everyone.
ALTER TABLE contributors ADD COLUMN max_width INTEGER;
ALTER TABLE contributors ADD COLUMN max_bytes INTEGER;
ALTER TABLE contributors ADD COLUMN max_contributions INTEGER;
ALTER TABLE contributors ADD COLUMN require_operator INTEGER
  CHECK (require_operator IN (0, 1));

-- Empty: the contributor itself asked.
ALTER TABLE withdrawals ADD COLUMN requested_by TEXT NOT NULL DEFAULT '';
ALTER TABLE withdrawals ADD COLUMN reason TEXT NOT NULL DEFAULT '';

-- Of the expert file; the last part of its name.
ALTER TABLE contributions ADD COLUMN size_bytes INTEGER NOT NULL DEFAULT 0;
UPDATE contributions SET size_bytes = CAST(substr(blob, 79) AS INTEGER);
CREATE INDEX contributions_quota
  ON contributions (contributor, state, size_bytes);
DROP INDEX contributions_by_state;
CREATE INDEX contributions_accepted ON contributions (anchor_digest, id)
  WHERE state = 'ACCEPTED';

CREATE INDEX releases_served ON releases (number)
  WHERE state IN ('PUBLISHED', 'SUPERSEDED');
CREATE INDEX releases_published ON releases (state)
  WHERE state = 'PUBLISHED';
CREATE INDEX uploads_unfinished ON uploads (expire_time_s)
  WHERE complete = 0;
CREATE INDEX uploads_by_blob ON uploads (blob) WHERE complete = 1;
CREATE INDEX jobs_queued ON jobs (kind, sequence) WHERE state = 'QUEUED';
CREATE INDEX requests_by_time ON requests (create_time_s);
)sql";

// Readers that may no longer read, and lists of one state that stay fast.
constexpr char kVersion3[] = R"sql(
CREATE TABLE revoked_readers (
  id TEXT PRIMARY KEY,
  revoke_time_s INTEGER NOT NULL
) STRICT;
CREATE INDEX contributions_by_state ON contributions (state, sequence);
CREATE INDEX invitations_open ON invitations (contributor)
  WHERE use_time_s IS NULL;
)sql";

constexpr const char* kMigrations[] = {kVersion1, kVersion2, kVersion3};

}  // namespace

std::span<const char* const> Migrations() { return kMigrations; }

}  // namespace tributary::coordinator

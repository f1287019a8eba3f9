#include "coordinator/commands/restore.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/text.h"
#include "common/crypto/key.h"
#include "common/manifest/resource_name.h"
#include "coordinator/blob/directory_blob_store.h"
#include "coordinator/commands/backup.h"
#include "coordinator/commands/config_file.h"
#include "coordinator/commands/lost_releases.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/core.h"
#include "coordinator/storage/reader_store.h"
#include "coordinator/withdrawal/withdraw.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxMissing = 1000;
// SQLite's rollback journal: belongs to the database of that name.
constexpr char kJournalSuffix[] = "-journal";

// The backup's database, checked and of today's schema, beside the home's own.
StatusOr<fs::path> PrepareDatabase(const Home& home, const fs::path& source) {
  const fs::path prepared = home.database().string() + ".restoring";
  std::error_code error;
  fs::remove(prepared, error);
  fs::remove(prepared.string() + kJournalSuffix, error);
  fs::copy_file(source, prepared, error);
  if (error) {
    return ErrnoStatus(error.value(), "copy " + source.string());
  }
  fs::permissions(prepared, fs::perms::owner_read | fs::perms::owner_write,
                  error);
  StatusOr<std::unique_ptr<Database>> database =
      Database::Open(prepared, Database::Mode::kExisting);
  Status usable = database.status();
  if (usable.ok()) {
    usable = (*database)->CheckIntegrity();
  }
  if (usable.ok()) {
    usable = (*database)
                 ->Get([](Transaction& transaction) {
                   return AuditLog(transaction)
                       .Verify([](const manifest::AuditRecord&) {});
                 })
                 .status();
  }
  if (!usable.ok()) {
    fs::remove(prepared, error);
    return usable;
  }
  ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(prepared, O_RDWR));
  if (fsync(file.get()) != 0) {
    return ErrnoStatus(errno, "fsync " + prepared.string());
  }
  return prepared;
}

// What a database knows that no restore may undo.
struct Final {
  std::vector<std::string> withdrawn;  // contributions
  std::vector<std::string> revoked_contributors;
  std::vector<std::string> revoked_readers;
  KnownReleases releases;
};

StatusOr<Final> FinalIn(const fs::path& path) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Database> database,
                   Database::Open(path, Database::Mode::kExisting));
  Final found;
  RETURN_IF_ERROR(database->Transact([&](Transaction& transaction) {
    for (const WithdrawalRow& row :
         WithdrawalStore(transaction).List(INT64_MAX, INT64_MAX)) {
      found.withdrawn.push_back(row.contribution);
    }
    for (const ContributorRow& row :
         ContributorStore(transaction).List("", INT64_MAX)) {
      if (row.state == ContributorState::kRevoked) {
        found.revoked_contributors.push_back(row.id);
      }
    }
    for (const RevokedReaderRow& row :
         ReaderStore(transaction).ListRevoked("", INT64_MAX)) {
      found.revoked_readers.push_back(row.id);
    }
    AddReleasesOf(transaction, found.releases);
    return absl::OkStatus();
  }));
  return found;
}

// Puts the home's database aside, with its journal if a crash left one.
Status PutAside(const Home& home, const Clock& clock, RestoreReport& report) {
  std::error_code error;
  if (!fs::exists(home.database(), error)) {
    return absl::OkStatus();
  }
  report.replaced = home.database().string() + ".replaced-" +
                    std::to_string(static_cast<int64_t>(clock.NowSeconds()));
  fs::rename(home.database(), report.replaced, error);
  if (error) {
    return ErrnoStatus(error.value(), "rename " + home.database().string());
  }
  const fs::path journal = home.database().string() + kJournalSuffix;
  if (fs::exists(journal, error)) {
    fs::rename(journal, report.replaced.string() + kJournalSuffix, error);
  }
  return error ? ErrnoStatus(error.value(), "rename " + journal.string())
               : SyncDirectory(home.root());
}

Status CopyBlobs(Database& database, DirectoryBlobStore& store,
                 const fs::path& backup, RestoreReport& report) {
  std::vector<BlobName> names;
  RETURN_IF_ERROR(database.Transact([&](Transaction& transaction) {
    names = BlobTable(transaction).List();
    return absl::OkStatus();
  }));
  std::error_code error;
  if (!fs::is_directory(backup, error)) {
    return absl::OkStatus();
  }
  const Home copy(backup);
  ASSIGN_OR_RETURN(const auto from,
                   DirectoryBlobStore::Create(
                       {.blobs = copy.blobs(), .uploads = copy.uploads()}));
  for (const BlobName& name : names) {
    ASSIGN_OR_RETURN(const bool present, store.Contains(name));
    ASSIGN_OR_RETURN(const bool kept, from->Contains(name));
    if (present || !kept) {
      continue;
    }
    ASSIGN_OR_RETURN(const BlobName stored, store.Import(from->PathOf(name)));
    if (stored != name) {
      // It stays missing; the wrong bytes have no row and are collected.
      continue;
    }
    ++report.copied_blobs;
    report.copied_bytes += name.size;
  }
  return absl::OkStatus();
}

// Withdraws again what the backup does not know to be withdrawn.
Status WithdrawAgain(const Core& core, Transaction& transaction,
                     const Final& known, RestoreReport& report) {
  for (const std::string& id : known.withdrawn) {
    const auto row = ContributionStore(transaction).Find(id);
    if (!row || WithdrawalStore(transaction).Find(id)) {
      continue;
    }
    RETURN_IF_ERROR(
        Withdraw(core, transaction, *row,
                 {.actor = kCoordinatorActor,
                  .reason = "withdrawn before the database was restored from "
                            "an older backup"})
            .status());
    report.withdrawn_again.push_back(id);
  }
  return absl::OkStatus();
}

// Likewise. A contributor that the backup does not know at all cannot call
// either.
void RevokeAgain(const Core& core, Transaction& transaction, const Final& known,
                 RestoreReport& report) {
  using manifest::Collection;
  ContributorStore contributors(transaction);
  for (const std::string& id : known.revoked_contributors) {
    const auto row = contributors.Find(id);
    if (row && row->state != ContributorState::kRevoked) {
      contributors.SetState(id, ContributorState::kRevoked);
      contributors.DropInvitations(id);
      report.revoked_again.push_back(
          manifest::ResourceName(Collection::kContributors, id));
    }
  }
  ReaderStore readers(transaction);
  for (const std::string& id : known.revoked_readers) {
    if (!readers.FindRevoked(id)) {
      readers.Revoke(id, core.now_s());
      report.revoked_again.push_back(
          manifest::ResourceName(Collection::kReaders, id));
    }
  }
}

Status Repeat(const Core& core, const Final& known, RestoreReport& report) {
  return core.database.Transact([&](Transaction& transaction) -> Status {
    RETURN_IF_ERROR(WithdrawAgain(core, transaction, known, report));
    RevokeAgain(core, transaction, known, report);
    report.lost_releases = WithdrawLost(core, transaction, known.releases);
    return core.Audit(transaction,
                      {.actor = kCoordinatorActor,
                       .action = "coordinator.restore",
                       .subject = ""},
                      {{"withdrawn_again", report.withdrawn_again},
                       {"revoked_again", report.revoked_again},
                       {"lost_releases", report.lost_releases}});
  });
}

}  // namespace

StatusOr<RestoreReport> RestoreHome(const Home& home,
                                    const RestoreOptions& options,
                                    const Clock& clock) {
  std::error_code error;
  const bool whole = fs::is_directory(options.backup, error);
  const fs::path source =
      whole ? Home(options.backup).database() : options.backup;
  if (!fs::exists(source, error)) {
    return NotFound(
        "{}: no such backup; wanted a folder that `backup` made, "
        "or a database",
        options.backup.string());
  }
  RETURN_IF_ERROR(MakeDirectories(home.root()));
  StatusOr<FileLock> lock = FileLock::TryAcquire(home.lock());
  if (absl::IsFailedPrecondition(lock.status())) {
    return FailedPrecondition("{}: a server uses this home; stop it first",
                              home.root().string());
  }
  RETURN_IF_ERROR(lock.status());
  const bool present = fs::exists(home.database(), error);
  if (present && options.present == RestoreOptions::Present::kRefuse) {
    return FailedPrecondition(
        "{} is there already; --replace puts it aside, or choose an empty "
        "--home",
        home.database().string());
  }
  ASSIGN_OR_RETURN(const fs::path prepared, PrepareDatabase(home, source));
  RestoreReport report;
  Final known;
  if (present) {
    auto read = FinalIn(home.database());
    report.replaced_damage = read.status();
    if (read.ok()) {
      known = *std::move(read);
    }
  }
  AddReleaseFolders(home, known.releases);
  if (whole && !fs::exists(home.config(), error)) {
    RETURN_IF_ERROR(CopyKeys(Home(options.backup), home));
  }
  ASSIGN_OR_RETURN(const Settings settings, LoadSettings(home));
  ASSIGN_OR_RETURN(const crypto::PrivateKey signer,
                   crypto::PrivateKey::Load(home.key("signer")));
  RETURN_IF_ERROR(PutAside(home, clock, report));
  fs::rename(prepared, home.database(), error);
  if (error) {
    return ErrnoStatus(error.value(), "rename " + prepared.string());
  }
  RETURN_IF_ERROR(SyncDirectory(home.root()));

  ASSIGN_OR_RETURN(const std::unique_ptr<Database> database,
                   Database::Open(home.database(), Database::Mode::kExisting));
  ASSIGN_OR_RETURN(const auto store,
                   DirectoryBlobStore::Create(
                       {.blobs = home.blobs(), .uploads = home.uploads()}));
  RETURN_IF_ERROR(CopyBlobs(*database, *store, options.backup, report));
  BlobCatalog catalog(*database, *store, clock);
  const Core core{home, settings, clock, *database, catalog, signer};
  RETURN_IF_ERROR(Repeat(core, known, report));
  ASSIGN_OR_RETURN(report.missing, catalog.FindMissing(kMaxMissing));
  return report;
}

}  // namespace tributary::coordinator

#include "tests/benchmarks/storage/filled_database.h"

#include <nlohmann/json.hpp>
#include <vector>

#include "common/base/files.h"
#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/release_store.h"

namespace tributary::benchmarks {
namespace {

namespace fs = std::filesystem;
using coordinator::Transaction;

// Manifests and envelopes of an expert of ten layers.
constexpr size_t kManifestBytes = 8192;
constexpr char kAnchor[] = "anchor-digest";
// Rows that are inserted in one transaction.
constexpr int kBatch = 1000;
constexpr int64_t kNow = 1'700'000'000;

manifest::BlobName BlobOf(int i) {
  return {.sha256 = fmt::format("{:064x}", i), .size = 17'000'000};
}

void AddContribution(Transaction& transaction, int i) {
  const std::string id = ContributionId(i);
  coordinator::ContributorStore(transaction)
      .EnsureInvited(ContributorId(i), kNow);
  coordinator::ContributionStore(transaction)
      .Add({.id = id,
            .contributor = ContributorId(i),
            .state = coordinator::ContributionState::kAccepted,
            .anchor_digest = kAnchor,
            .blob = BlobOf(i).ToString(),
            .manifest_digest = fmt::format("{:064x}", i),
            .manifest_json = std::string(kManifestBytes, 'm'),
            .envelope_json = std::string(kManifestBytes * 4 / 3, 'e'),
            .create_time_s = kNow,
            .update_time_s = kNow});
  coordinator::BlobTable(transaction)
      .Add(BlobOf(i), "contributions/" + id, kNow);
}

void AddRelease(Transaction& transaction, int first) {
  std::vector<std::string> ids;
  for (int i = first; i < first + kPerContributor; ++i) {
    ids.push_back(ContributionId(i));
  }
  coordinator::ReleaseStore releases(transaction);
  const int64_t number = releases.Create(kAnchor, "discriminant", ids, kNow);
  releases.Publish({.number = number,
                    .digest = fmt::format("{:064x}", number),
                    .manifest_json = std::string(kManifestBytes, 'r'),
                    .envelope_json = std::string(kManifestBytes, 's'),
                    .create_time_s = kNow});
}

}  // namespace

std::string ContributionId(int i) { return fmt::format("c{}", i); }

std::string ContributorId(int i) {
  return fmt::format("owner{}", i / kPerContributor);
}

Status FilledDatabase::Fill() {
  for (int begin = 0; begin < contributions_; begin += kBatch) {
    const int end = std::min(contributions_, begin + kBatch);
    RETURN_IF_ERROR(
        database_->Transact([&](Transaction& transaction) -> Status {
          if (begin == 0) {
            coordinator::AnchorStore(transaction)
                .Add({.id = "anchor", .digest = kAnchor});
          }
          for (int i = begin; i < end; ++i) {
            AddContribution(transaction, i);
            for (const char* action :
                 {"contribution.create", "contribution.decide"}) {
              RETURN_IF_ERROR(core_->Audit(
                  transaction,
                  {.actor = ContributorId(i),
                   .action = action,
                   .subject = "contributions/" + ContributionId(i)},
                  Json::object()));
            }
            if ((i + 1) % kPerContributor == 0) {
              AddRelease(transaction, i + 1 - kPerContributor);
            }
          }
          return absl::OkStatus();
        }));
  }
  return absl::OkStatus();
}

Status FilledDatabase::Open() {
  core_.reset();
  catalog_.reset();
  database_.reset();
  ASSIGN_OR_RETURN(database_,
                   coordinator::Database::Open(
                       home_.database(), coordinator::Database::Mode::kCreate));
  catalog_ = std::make_unique<coordinator::BlobCatalog>(*database_, *store_,
                                                        SystemClock());
  core_ = std::make_unique<coordinator::Core>(coordinator::Core{
      home_, settings_, SystemClock(), *database_, *catalog_, signer_});
  return absl::OkStatus();
}

Status FilledDatabase::Reset() {
  core_.reset();
  catalog_.reset();
  database_.reset();
  std::error_code error;
  fs::copy_file(home_.root() / "filled.sqlite", home_.database(),
                fs::copy_options::overwrite_existing, error);
  if (error) {
    return ErrnoStatus(error.value(), "copy the filled database");
  }
  return Open();
}

StatusOr<std::unique_ptr<FilledDatabase>> FilledDatabase::Create(
    const fs::path& root, int contributions, const crypto::PrivateKey& signer) {
  std::unique_ptr<FilledDatabase> filled(
      new FilledDatabase(root, contributions, signer));
  RETURN_IF_ERROR(MakeDirectories(root));
  ASSIGN_OR_RETURN(filled->store_, coordinator::DirectoryBlobStore::Create(
                                       {.blobs = filled->home_.blobs(),
                                        .uploads = filled->home_.uploads()}));
  RETURN_IF_ERROR(filled->Open());
  RETURN_IF_ERROR(filled->Fill());
  RETURN_IF_ERROR(filled->database_->BackUp(root / "filled.sqlite"));
  return filled;
}

}  // namespace tributary::benchmarks

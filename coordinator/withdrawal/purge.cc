#include "coordinator/withdrawal/purge.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <vector>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/manifest/receipts.h"
#include "common/manifest/resource_name.h"
#include "coordinator/merge/release_directory.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/release_store.h"
#include "coordinator/storage/upload_store.h"
#include "coordinator/storage/withdrawal_store.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using manifest::Collection;
using manifest::ReleaseName;
using manifest::ResourceName;

std::string JoinNames(const std::vector<BlobName>& names) {
  std::string text;
  for (const BlobName& name : names) {
    text += name.ToString() + "\n";
  }
  return text;
}

StatusOr<std::vector<BlobName>> SplitNames(std::string_view text) {
  std::vector<BlobName> names;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    ASSIGN_OR_RETURN(names.emplace_back(),
                     BlobName::Parse(text.substr(0, end)));
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
  }
  return names;
}

struct Scope {
  ContributionRow contribution;
  WithdrawalRow withdrawal;
  std::vector<ReleaseRow> releases;  // that held it
  std::vector<UploadRow> uploads;
  std::vector<BlobName> blobs;  // to be deleted unless needed elsewhere
};

// Releases every hold on the bytes and writes down which bytes those are.
StatusOr<Scope> Detach(const Core& core, const std::string& id) {
  Scope scope;
  RETURN_IF_ERROR(core.database.Transact([&](Transaction& transaction)
                                             -> Status {
    const auto contribution = ContributionStore(transaction).Find(id);
    const auto withdrawal = WithdrawalStore(transaction).Find(id);
    if (!contribution || !withdrawal) {
      return NotFound("withdrawals/{}: no such withdrawal", id);
    }
    scope.contribution = *contribution;
    scope.withdrawal = *withdrawal;
    scope.releases = ReleaseStore(transaction).ListHolding(id);
    scope.uploads = UploadStore(transaction).ListOf(id);
    ASSIGN_OR_RETURN(scope.blobs, SplitNames(withdrawal->deleted_blobs));
    BlobTable table(transaction);
    std::vector<std::string> owners = {
        ResourceName(Collection::kContributions, id)};
    for (const ReleaseRow& release : scope.releases) {
      owners.push_back(ReleaseName(release.number));
    }
    for (const std::string& owner : owners) {
      for (BlobName& blob : table.BlobsOf(owner)) {
        scope.blobs.push_back(std::move(blob));
      }
      table.RemoveOwner(owner);
    }
    std::sort(scope.blobs.begin(), scope.blobs.end());
    scope.blobs.erase(std::unique(scope.blobs.begin(), scope.blobs.end()),
                      scope.blobs.end());
    WithdrawalStore(transaction).SetDeletedBlobs(id, JoinNames(scope.blobs));
    return absl::OkStatus();
  }));
  return scope;
}

// Deletes files. Folders of jobs hold links to experts too; none of them is in
// use while this runs, apart from anchor imports, which hold no expert.
Status DeleteFiles(const Core& core, const Scope& scope) {
  for (const UploadRow& upload : scope.uploads) {
    RETURN_IF_ERROR(core.catalog.store().DiscardWrite(upload.upload_id));
  }
  for (const ReleaseRow& release : scope.releases) {
    RETURN_IF_ERROR(RemovePlaced(core.home.release(release.number)));
  }
  std::error_code error;
  for (fs::directory_iterator entry(core.home.jobs(), error), end;
       !error && entry != end; entry.increment(error)) {
    if (entry->path().filename().string().rfind("anchor-", 0) != 0) {
      fs::remove_all(entry->path(), error);
    }
  }
  if (error) {
    return ErrnoStatus(error.value(), core.home.jobs().string());
  }
  return core.catalog.DeleteUnreferenced(scope.blobs).status();
}

StatusOr<manifest::PurgeReceipt> Describe(const Core& core,
                                          Transaction& transaction,
                                          const Scope& scope) {
  manifest::PurgeReceipt receipt;
  receipt.federation = core.settings.federation;
  receipt.contribution = scope.contribution.id;
  receipt.contributor = scope.contribution.contributor;
  ASSIGN_OR_RETURN(receipt.expert_blob,
                   BlobName::Parse(scope.contribution.blob));
  for (const BlobName& blob : scope.blobs) {
    const std::vector<std::string> owners =
        BlobTable(transaction).OwnersOf(blob);
    if (owners.empty()) {
      receipt.deleted_blobs.push_back(blob);
    } else {
      receipt.kept_blobs.push_back({blob, "part of " + owners[0]});
    }
  }
  ReleaseStore releases(transaction);
  for (const int64_t number : scope.withdrawal.withdrawn_releases) {
    const auto release = releases.Find(number);
    if (release && !release->digest.empty()) {
      receipt.withdrawn_releases.push_back(
          {ReleaseName(number), release->digest});
    }
  }
  if (scope.withdrawal.new_release) {
    const auto release = releases.Find(*scope.withdrawal.new_release);
    if (release && release->served()) {
      receipt.new_release = {ReleaseName(release->number), release->digest};
    }
  }
  receipt.purge_time_s = core.now_s();
  return receipt;
}

Status Finish(const Core& core, const Scope& scope) {
  const std::string& id = scope.contribution.id;
  return core.database.Transact([&](Transaction& transaction) -> Status {
    ASSIGN_OR_RETURN(manifest::PurgeReceipt receipt,
                     Describe(core, transaction, scope));
    Json deleted = Json::array();
    for (const BlobName& blob : receipt.deleted_blobs) {
      deleted.push_back(blob.ToString());
    }
    RETURN_IF_ERROR(
        core.Audit(transaction,
                   {.actor = kCoordinatorActor,
                    .action = "contribution.purge",
                    .subject = ResourceName(Collection::kContributions, id)},
                   {{"deleted_blobs", deleted}}));
    const manifest::Chain head = AuditLog(transaction).Head();
    receipt.audit = {head.size(), head.head_hash()};
    ASSIGN_OR_RETURN(const std::string json,
                     manifest::SignPurgeReceipt(receipt, core.signer));
    ContributionStore contributions(transaction);
    contributions.SetState(id, ContributionState::kPurged, core.now_s());
    contributions.Erase(id);
    for (const ReleaseRow& release : scope.releases) {
      ReleaseStore(transaction).Erase(release.number);
    }
    // Not before their files are gone: after a crash nothing else names them.
    for (const UploadRow& upload : scope.uploads) {
      UploadStore(transaction).Remove(upload.contribution, upload.blob);
    }
    WithdrawalStore withdrawals(transaction);
    withdrawals.SetFinalReceipt(id, json);
    withdrawals.SetState(id, WithdrawalState::kPurged);
    return absl::OkStatus();
  });
}

}  // namespace

Status Purge(const Core& core, const std::string& contribution) {
  ASSIGN_OR_RETURN(const Scope scope, Detach(core, contribution));
  RETURN_IF_ERROR(DeleteFiles(core, scope));
  RETURN_IF_ERROR(Finish(core, scope));
  log::Info("contributions/{}: purged", contribution);
  return absl::OkStatus();
}

}  // namespace tributary::coordinator

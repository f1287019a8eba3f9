#include "coordinator/service/upload_session.h"

#include <algorithm>
#include <utility>

#include "common/base/log.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/manifest/resource_name.h"
#include "common/rpc/blob_stream.h"
#include "common/rpc/status_conversion.h"
#include "coordinator/admission/offered_blobs.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/contribution_store.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ResourceName;

bool TakesUploads(ContributionState state) {
  return state == ContributionState::kCreated ||
         state == ContributionState::kUploading;
}

}  // namespace

Status OffsetMismatch(int64_t got, int64_t committed_size) {
  return rpc::WithErrorInfo(
      Aborted("write_offset: got {}, wanted {}; continue from there", got,
              committed_size),
      {.reason = rpc::kWriteOffsetMismatch,
       .metadata = {{rpc::kCommittedSizeKey, std::to_string(committed_size)}}});
}

// Checks what the contribution allows and reads how far the upload is.
Status UploadSession::Inspect(Transaction& transaction) {
  const std::string blob = target_.blob.ToString();
  const auto contribution =
      ContributionStore(transaction).Find(target_.contribution);
  if (!contribution || contribution->contributor != target_.contributor) {
    return NotFound("contributions/{}: you have no such contribution",
                    target_.contribution);
  }
  if (contribution->blob != blob) {
    ASSIGN_OR_RETURN(const std::vector<BlobName> offered,
                     OfferedBlobs(*contribution));
    if (std::find(offered.begin(), offered.end(), target_.blob) ==
        offered.end()) {
      return InvalidArgument("resource_name: contributions/{} lists {}, got {}",
                             target_.contribution, contribution->blob, blob);
    }
  }
  const auto present =
      UploadStore(transaction).Find(target_.contribution, blob);
  if (present && present->complete) {
    row_ = *present;
    return absl::OkStatus();
  }
  if (!TakesUploads(contribution->state)) {
    return FailedPrecondition(
        "contributions/{} is {} and takes no uploads any more",
        target_.contribution, ToString(contribution->state));
  }
  row_ = present
             ? *present
             : UploadRow{.contribution = target_.contribution,
                         .blob = blob,
                         .upload_id = RandomUuid(),
                         .size_bytes = static_cast<int64_t>(target_.blob.size)};
  return absl::OkStatus();
}

// Raises the upload's epoch, so that older streams can record nothing more.
Status UploadSession::TakeOver() {
  return core_.database.Transact([&](Transaction& transaction) -> Status {
    RETURN_IF_ERROR(Inspect(transaction));
    if (row_.complete) {
      return absl::OkStatus();
    }
    ++row_.epoch;
    row_.expire_time_s = core_.now_s() + kUploadLifetimeS;
    UploadStore(transaction).Put(row_);
    ContributionStore contributions(transaction);
    if (contributions.Find(target_.contribution)->state ==
        ContributionState::kCreated) {
      contributions.SetState(target_.contribution,
                             ContributionState::kUploading, core_.now_s());
    }
    return absl::OkStatus();
  });
}

Status UploadSession::OpenWriter() {
  ASSIGN_OR_RETURN(const uint64_t free_bytes,
                   core_.catalog.store().FreeBytes());
  const uint64_t missing =
      target_.blob.size - static_cast<uint64_t>(row_.committed_size);
  const uint64_t reserve = core_.settings.quotas.min_free_disk_bytes;
  if (free_bytes < missing + reserve) {
    return rpc::WithErrorInfo(
        ResourceExhausted("the coordinator has {} of disk left, the upload "
                          "needs {} and {} must stay free; try later or tell "
                          "its operator",
                          HumanBytes(free_bytes), HumanBytes(missing),
                          HumanBytes(reserve)),
        {.reason = rpc::kLowDisk});
  }
  StatusOr<std::unique_ptr<BlobWriter>> writer =
      core_.catalog.store().BeginWrite(
          target_.blob, row_.upload_id,
          {.size = static_cast<uint64_t>(row_.committed_size),
           .hash_state = row_.hash_state});
  if (absl::IsDataLoss(writer.status())) {
    // The partial is not what the database says, as after restoring a backup:
    // the only way on is from the beginning.
    log::Warning("{}", writer.status().ToString());
    RETURN_IF_ERROR(core_.catalog.store().DiscardWrite(row_.upload_id));
    row_.upload_id = RandomUuid();
    row_.committed_size = 0;
    row_.hash_state.clear();
    RETURN_IF_ERROR(core_.database.Transact([&](Transaction& transaction) {
      UploadStore(transaction).Put(row_);
      return absl::OkStatus();
    }));
    writer = core_.catalog.store().BeginWrite(target_.blob, row_.upload_id, {});
  }
  ASSIGN_OR_RETURN(writer_, std::move(writer));
  return absl::OkStatus();
}

StatusOr<std::unique_ptr<UploadSession>> UploadSession::Open(const Core& core,
                                                             Target target) {
  std::unique_ptr<UploadSession> session(
      new UploadSession(core, std::move(target)));
  // Checked first: only the owner can take an upload over.
  RETURN_IF_ERROR(core.database.Transact(
      [&](Transaction& transaction) { return session->Inspect(transaction); }));
  return session;
}

Status UploadSession::Begin(std::unique_ptr<UploadRegistry::Lease> lease) {
  lease_ = std::move(lease);
  RETURN_IF_ERROR(TakeOver());
  return complete() ? absl::OkStatus() : OpenWriter();
}

// Why progress could not be recorded.
Status UploadSession::Lost() {
  std::optional<UploadRow> now;
  std::optional<ContributionRow> contribution;
  RETURN_IF_ERROR(core_.database.Transact([&](Transaction& transaction) {
    now = UploadStore(transaction).Find(row_.contribution, row_.blob);
    contribution = ContributionStore(transaction).Find(row_.contribution);
    return absl::OkStatus();
  }));
  if (now && now->upload_id == row_.upload_id) {
    return Aborted("another stream has taken this upload over");
  }
  writer_.reset();
  RETURN_IF_ERROR(core_.catalog.store().DiscardWrite(row_.upload_id));
  return FailedPrecondition(
      "contributions/{} is {} and takes no uploads any more",
      target_.contribution,
      contribution ? ToString(contribution->state) : "gone");
}

Status UploadSession::Append(std::span<const std::string_view> pieces) {
  RETURN_IF_ERROR(writer_->Append(pieces));
  if (offset() - row_.committed_size >= rpc::kCommitIntervalBytes) {
    return Commit();
  }
  return absl::OkStatus();
}

Status UploadSession::Commit() {
  if (!writer_ || offset() == row_.committed_size) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const uint64_t durable, writer_->Sync());
  row_.hash_state = writer_->HashState();
  bool recorded = false;
  bool live = false;
  RETURN_IF_ERROR(core_.database.Transact([&](Transaction& transaction) {
    const auto contribution =
        ContributionStore(transaction).Find(row_.contribution);
    live = contribution && TakesUploads(contribution->state);
    recorded = UploadStore(transaction)
                   .SetCommitted(row_, static_cast<int64_t>(durable),
                                 core_.now_s() + kUploadLifetimeS);
    return absl::OkStatus();
  }));
  if (!recorded) {
    return Lost();
  }
  if (!live) {
    return FailedPrecondition("contributions/{} takes no uploads any more",
                              target_.contribution);
  }
  row_.committed_size = static_cast<int64_t>(durable);
  return absl::OkStatus();
}

Status UploadSession::Finish() {
  if (offset() != row_.size_bytes) {
    RETURN_IF_ERROR(Commit());
    return InvalidArgument(
        "finish_write: {} of {} bytes were sent; send the rest first", offset(),
        row_.size_bytes);
  }
  BlobCatalog::CommitGuard guard = core_.catalog.GuardCommit();
  const Status status = writer_->Commit();
  if (absl::IsInvalidArgument(status)) {
    RETURN_IF_ERROR(core_.database.Transact([&](Transaction& transaction) {
      UploadStore(transaction).Remove(row_.contribution, row_.blob);
      return absl::OkStatus();
    }));
    return rpc::WithErrorInfo(status, {.reason = rpc::kDigestMismatch});
  }
  RETURN_IF_ERROR(status);
  bool recorded = false;
  RETURN_IF_ERROR(core_.database.Transact([&](Transaction& transaction) {
    recorded = UploadStore(transaction).SetComplete(row_);
    if (recorded) {
      BlobTable(transaction)
          .Add(target_.blob,
               ResourceName(Collection::kContributions, row_.contribution),
               core_.now_s());
    }
    return absl::OkStatus();
  }));
  if (!recorded) {
    // Purged meanwhile: nothing may keep the bytes.
    guard.unlock();
    RETURN_IF_ERROR(core_.catalog.DeleteUnreferenced({target_.blob}).status());
    return Lost();
  }
  row_.complete = true;
  row_.committed_size = row_.size_bytes;
  return absl::OkStatus();
}

}  // namespace tributary::coordinator

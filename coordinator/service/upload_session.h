#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "coordinator/service/upload_registry.h"
#include "coordinator/storage/blob_catalog.h"
#include "coordinator/storage/core.h"
#include "coordinator/storage/upload_store.h"

namespace tributary::coordinator {

// One upload stream: takes the upload over from older streams, keeps what is
// durable recorded, ends in a blob.
class UploadSession {
 public:
  struct Target {
    std::string contributor;   // id of the caller
    std::string contribution;  // id
    BlobName blob;
    std::string Key() const { return contribution + "/" + blob.ToString(); }
  };

  // NOT_FOUND: the caller has no such contribution. INVALID_ARGUMENT: it does
  // not list the blob. FAILED_PRECONDITION: it takes no uploads any more.
  // RESOURCE_EXHAUSTED: the disk is nearly full. A complete blob gives a
  // session that is complete(); any other one goes on with Begin.
  static StatusOr<std::unique_ptr<UploadSession>> Open(const Core& core,
                                                       Target target);

  // Takes the upload over with the right to it: the stream before this one has
  // recorded what it had. May find it complete.
  Status Begin(std::unique_ptr<UploadRegistry::Lease> lease);

  const Target& target() const { return target_; }

  bool complete() const { return row_.complete; }
  // Durable bytes.
  int64_t committed_size() const { return row_.committed_size; }
  // Bytes taken in; the offset of the next one.
  int64_t offset() const {
    return writer_ ? static_cast<int64_t>(writer_->offset())
                   : row_.committed_size;
  }

  // Takes the next bytes and commits every rpc::kCommitIntervalBytes.
  // ABORTED: another stream took over. FAILED_PRECONDITION: withdrawn.
  Status Append(std::span<const std::string_view> pieces);
  // Makes everything taken in durable and records it. Errors likewise.
  Status Commit();
  // All bytes are there: verifies and publishes the blob. INVALID_ARGUMENT with
  // DIGEST_MISMATCH: the partial is deleted.
  Status Finish();

 private:
  UploadSession(const Core& core, Target target)
      : core_(core), target_(std::move(target)) {}
  Status Inspect(Transaction& transaction);
  Status TakeOver();
  Status OpenWriter();
  Status Lost();

  const Core& core_;
  const Target target_;
  std::unique_ptr<UploadRegistry::Lease> lease_;
  UploadRow row_;
  // After the lease: closed before the upload is given back.
  std::unique_ptr<BlobWriter> writer_;
};

// ABORTED with WRITE_OFFSET_MISMATCH: where to continue.
Status OffsetMismatch(int64_t got, int64_t committed_size);

}  // namespace tributary::coordinator

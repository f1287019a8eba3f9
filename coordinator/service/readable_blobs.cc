#include "coordinator/service/readable_blobs.h"

#include <string>

#include "common/manifest/resource_name.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/release_store.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ParseResourceName;

// Whether something that keeps the blob lets this caller read it.
bool OwnerIsReadable(Transaction& transaction, const Caller& caller,
                     const std::string& owner, const BlobName& name) {
  if (owner.rfind("anchors/", 0) == 0) {
    return true;
  }
  ReleaseStore releases(transaction);
  if (const auto number = manifest::ParseReleaseName(owner); number.ok()) {
    const auto release = releases.Find(*number);
    return release && release->served();
  }
  const auto id = ParseResourceName(Collection::kContributions, owner);
  if (!id.ok()) {
    return false;
  }
  const auto row = ContributionStore(transaction).Find(*id);
  if (!row || row->state == ContributionState::kWithdrawn ||
      row->state == ContributionState::kPurged) {
    return false;
  }
  if (row->contributor == caller.id &&
      caller.role == rpc::PeerRole::kContributor) {
    return true;
  }
  // What else came with an expert is no part of a release.
  if (row->blob != name.ToString()) {
    return false;
  }
  for (const ReleaseRow& release : releases.ListHolding(*id)) {
    if (release.served()) {
      return true;
    }
  }
  return false;
}

}  // namespace

Status CheckReadable(const Core& core, const Caller& caller,
                     const BlobName& name) {
  return core.database.Transact([&](Transaction& transaction) -> Status {
    for (const std::string& owner : BlobTable(transaction).OwnersOf(name)) {
      if (OwnerIsReadable(transaction, caller, owner, name)) {
        return absl::OkStatus();
      }
    }
    return NotFound("{}: no such blob", name.ToString());
  });
}

}  // namespace tributary::coordinator

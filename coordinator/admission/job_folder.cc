#include "coordinator/admission/job_folder.h"

#include <optional>
#include <utility>

#include "common/base/files.h"
#include "common/manifest/anchor_manifest.h"
#include "coordinator/merge/release_directory.h"
#include "coordinator/storage/anchor_store.h"

namespace tributary::coordinator {

namespace fs = std::filesystem;

StatusOr<JobFolder> JobFolder::Create(const Home& home, const std::string& id) {
  JobFolder folder(home.job(id));
  std::error_code error;
  fs::remove_all(folder.root_, error);
  RETURN_IF_ERROR(MakeDirectories(folder.input()));
  RETURN_IF_ERROR(MakeDirectories(folder.output()));
  return folder;
}

JobFolder::JobFolder(JobFolder&& other) noexcept
    : root_(std::exchange(other.root_, {})) {}

JobFolder::~JobFolder() {
  if (!root_.empty()) {
    std::error_code error;
    fs::remove_all(root_, error);
  }
}

StatusOr<fs::path> EnsureAnchorFolder(const Core& core,
                                      const std::string& anchor_digest) {
  std::optional<AnchorRow> anchor;
  RETURN_IF_ERROR(core.database.Transact([&](Transaction& transaction) {
    anchor = AnchorStore(transaction).FindByDigest(anchor_digest);
    return absl::OkStatus();
  }));
  if (!anchor) {
    return NotFound("no anchor has digest {}", anchor_digest);
  }
  ASSIGN_OR_RETURN(const manifest::AnchorManifest manifest,
                   manifest::AnchorManifest::FromJson(anchor->manifest_json));
  const fs::path folder = core.home.anchor(anchor_digest);
  RETURN_IF_ERROR(PlaceAnchor(
      manifest,
      [&](const BlobName& blob, const fs::path& target) {
        return core.catalog.store().Materialise(blob, target);
      },
      folder));
  return folder;
}

}  // namespace tributary::coordinator

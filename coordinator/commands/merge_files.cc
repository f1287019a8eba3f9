#include "coordinator/commands/merge_files.h"

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/manifest/expert_manifest.h"
#include "coordinator/merge/merge.h"
#include "coordinator/merge/release_directory.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

constexpr char kRouterMode[] = "discriminant";

StatusOr<MergeExpert> ReadExpert(const ContributionFiles& files) {
  ASSIGN_OR_RETURN(const std::string envelope, ReadFile(files.envelope));
  StatusOr<manifest::ExpertManifest> manifest =
      manifest::ReadExpertManifestUnverified(envelope);
  RETURN_IF_ERROR(Annotate(manifest.status(), files.envelope.string()));
  ASSIGN_OR_RETURN(const crypto::FileDigest digest,
                   crypto::DigestFile(files.expert));
  const manifest::BlobName found = {digest.sha256, digest.size};
  if (found != manifest->blob) {
    return InvalidArgument(
        "{}: got {}, wanted {} as {} says; give the file that was uploaded",
        files.expert.string(), found.ToString(), manifest->blob.ToString(),
        files.envelope.string());
  }
  return MergeExpert{.manifest = *std::move(manifest), .file = files.expert};
}

Status LinkFile(const fs::path& source, const fs::path& target) {
  std::error_code error;
  fs::create_hard_link(source, target, error);
  if (error) {
    error.clear();
    fs::copy_file(source, target, error);
  }
  return error ? ErrnoStatus(error.value(), "write " + target.string())
               : absl::OkStatus();
}

}  // namespace

Status LinkTree(const fs::path& source, const fs::path& target) {
  std::error_code error;
  if (fs::is_regular_file(source, error)) {
    return LinkFile(fs::canonical(source, error), target);
  }
  RETURN_IF_ERROR(MakeDirectories(target));
  for (const auto& entry : fs::directory_iterator(source, error)) {
    RETURN_IF_ERROR(LinkTree(entry.path(), target / entry.path().filename()));
  }
  return error ? ErrnoStatus(error.value(), "read " + source.string())
               : absl::OkStatus();
}

StatusOr<manifest::ReleaseManifest> MergeFiles(
    const fs::path& anchor_directory,
    const std::vector<ContributionFiles>& contributions,
    const fs::path& output) {
  std::error_code error;
  if (fs::exists(output, error)) {
    return absl::AlreadyExistsError(output.string() +
                                    ": is there already; choose another "
                                    "--output");
  }
  MergePlan plan;
  ASSIGN_OR_RETURN(plan.anchor, ReadMergeAnchor(anchor_directory, kRouterMode));
  for (const ContributionFiles& files : contributions) {
    ASSIGN_OR_RETURN(MergeExpert expert, ReadExpert(files));
    plan.experts.push_back(std::move(expert));
  }
  const ReleaseDirectory parts(output.string() + ".partial");
  fs::remove_all(parts.root, error);
  RETURN_IF_ERROR(MakeDirectories(parts.root / "experts"));
  RETURN_IF_ERROR(MakeDirectories(parts.root / "manifests"));
  ASSIGN_OR_RETURN(const manifest::ReleaseManifest release,
                   Merge(plan, parts.router()));
  ASSIGN_OR_RETURN(const std::string json, release.ToJson());
  RETURN_IF_ERROR(WriteFileAtomic(parts.manifest(), json));
  RETURN_IF_ERROR(LinkTree(anchor_directory, parts.anchor()));
  for (size_t i = 0; i < contributions.size(); ++i) {
    const std::string& name = plan.experts[i].manifest.contribution;
    RETURN_IF_ERROR(LinkTree(contributions[i].expert, parts.expert(name)));
    RETURN_IF_ERROR(
        LinkTree(contributions[i].envelope, parts.expert_manifest(name)));
  }
  fs::rename(parts.root, output, error);
  if (error) {
    return ErrnoStatus(error.value(), "rename to " + output.string());
  }
  return release;
}

}  // namespace tributary::coordinator

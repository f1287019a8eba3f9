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

// An expert of the plan and the files that belong to it.
struct PlacedExpert {
  std::string contribution;
  fs::path expert;
  fs::path envelope;  // may be missing in a fetched release
};

struct FilePlan {
  MergePlan merge;
  std::vector<PlacedExpert> experts;
  fs::path anchor;
};

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
  return MergeExpertOf(*manifest, files.expert);
}

// Everything in a release but the experts named in `without`.
StatusOr<FilePlan> StartFromRelease(const MergeFilesOptions& options) {
  const ReleaseDirectory names(options.release);
  ASSIGN_OR_RETURN(const std::string json, ReadFile(names.manifest()));
  ASSIGN_OR_RETURN(const manifest::ReleaseManifest release,
                   manifest::ReleaseManifest::FromJson(json));
  FilePlan plan;
  plan.anchor = names.anchor();
  ASSIGN_OR_RETURN(plan.merge, PlanOfRelease(release, names.router()));
  for (const std::string& name : options.without) {
    const size_t removed =
        std::erase_if(plan.merge.experts, [&](const MergeExpert& expert) {
          return expert.contribution() == name;
        });
    if (removed == 0) {
      return NotFound("--without {}: {} has no such expert", name,
                      options.release.string());
    }
  }
  for (const MergeExpert& expert : plan.merge.experts) {
    plan.experts.push_back({expert.contribution(),
                            names.expert(expert.contribution()),
                            names.expert_manifest(expert.contribution())});
  }
  return plan;
}

StatusOr<FilePlan> MakePlan(const MergeFilesOptions& options) {
  FilePlan plan;
  if (!options.release.empty()) {
    ASSIGN_OR_RETURN(plan, StartFromRelease(options));
  } else {
    plan.anchor = options.anchor;
    ASSIGN_OR_RETURN(plan.merge.anchor,
                     ReadMergeAnchor(options.anchor, kRouterMode));
  }
  for (const ContributionFiles& files : options.contributions) {
    ASSIGN_OR_RETURN(MergeExpert expert, ReadExpert(files));
    plan.experts.push_back(
        {expert.contribution(), files.expert, files.envelope});
    plan.merge.experts.push_back(std::move(expert));
  }
  return plan;
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
    const MergeFilesOptions& options) {
  std::error_code error;
  if (fs::exists(options.output, error)) {
    return AlreadyExists("{}: is there already; choose another --output",
                         options.output.string());
  }
  ASSIGN_OR_RETURN(FilePlan plan, MakePlan(options));
  const ReleaseDirectory parts(options.output.string() + ".partial");
  fs::remove_all(parts.root, error);
  RETURN_IF_ERROR(MakeDirectories(parts.root / "experts"));
  RETURN_IF_ERROR(MakeDirectories(parts.root / "manifests"));
  ASSIGN_OR_RETURN(const manifest::ReleaseManifest release,
                   Merge(std::move(plan.merge), parts.router()));
  ASSIGN_OR_RETURN(const std::string json, release.ToJson());
  RETURN_IF_ERROR(WriteFileAtomic(parts.manifest(), json));
  RETURN_IF_ERROR(LinkTree(plan.anchor, parts.anchor()));
  for (const PlacedExpert& expert : plan.experts) {
    RETURN_IF_ERROR(LinkTree(expert.expert, parts.expert(expert.contribution)));
    if (fs::exists(expert.envelope, error)) {
      RETURN_IF_ERROR(LinkTree(expert.envelope,
                               parts.expert_manifest(expert.contribution)));
    }
  }
  fs::rename(parts.root, options.output, error);
  if (error) {
    return ErrnoStatus(error.value(), "rename to " + options.output.string());
  }
  return release;
}

}  // namespace tributary::coordinator

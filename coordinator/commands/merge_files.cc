#include "coordinator/commands/merge_files.h"

#include <algorithm>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/manifest/expert_manifest.h"
#include "coordinator/merge/merge.h"
#include "coordinator/merge/release_directory.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

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
  std::string mode;
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
  plan.mode =
      options.router_mode.empty() ? release.routing.mode : options.router_mode;
  if (MakesRouter(release.routing.mode) && !MakesRouter(plan.mode)) {
    return FailedPrecondition(
        "{}: its rows were made by the coordinator (mode {}), not by "
        "contributors; merge for mode {} from --contribution files",
        options.release.string(), release.routing.mode, plan.mode);
  }
  plan.merge.anchor.routing.mode = plan.mode;
  plan.merge.anchor.routing.settings.clear();
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
    plan.mode = options.router_mode.empty() ? std::string(kDiscriminantMode)
                                            : options.router_mode;
    ASSIGN_OR_RETURN(plan.merge.anchor,
                     ReadMergeAnchor(options.anchor, plan.mode));
    plan.merge.anchor.routing.settings.clear();
  }
  for (const ContributionFiles& files : options.contributions) {
    ASSIGN_OR_RETURN(MergeExpert expert, ReadExpert(files));
    plan.experts.push_back(
        {expert.contribution(), files.expert, files.envelope});
    plan.merge.experts.push_back(std::move(expert));
  }
  return plan;
}

// Replaces the router file where the mode says so.
Status MakeRouter(const MergeFilesOptions& options, const FilePlan& plan,
                  const MergeAnchor& anchor, const fs::path& router,
                  manifest::ReleaseManifest& release) {
  RouterMaterial material = {.anchor = plan.anchor,
                             .num_layers = anchor.num_layers,
                             .hidden_size = anchor.hidden_size,
                             .top_k = release.routing.top_k};
  for (const auto& entry : release.experts) {
    const std::string& name = entry.contribution;
    material.contributions.push_back(name);
    const auto expert =
        std::ranges::find(plan.experts, name, &PlacedExpert::contribution);
    material.experts.push_back(expert->expert);
    const auto statistics = options.statistics.find(name);
    if (plan.mode != kRidgeMode) {
      continue;
    }
    if (statistics == options.statistics.end()) {
      return NotFound(
          "contributions/{}: a ridge router needs its statistics; "
          "name them with --statistics {}=FILE",
          name, name);
    }
    material.statistics.push_back(statistics->second);
  }
  if (!options.make_router) {
    return Unimplemented("mode {}: nothing here makes its router", plan.mode);
  }
  ASSIGN_OR_RETURN(release.routing.settings,
                   options.make_router(plan.mode, material, router));
  RETURN_IF_ERROR(
      CheckRouterFile(router, static_cast<int64_t>(release.experts.size()) + 1,
                      anchor.num_layers, anchor.hidden_size));
  ASSIGN_OR_RETURN(const crypto::FileDigest digest, crypto::DigestFile(router));
  release.router_blob = {digest.sha256, digest.size};
  return absl::OkStatus();
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
  const MergeAnchor anchor = plan.merge.anchor;
  ASSIGN_OR_RETURN(manifest::ReleaseManifest release,
                   Merge(std::move(plan.merge), parts.router()));
  if (MakesRouter(plan.mode) && !release.experts.empty()) {
    RETURN_IF_ERROR(MakeRouter(options, plan, anchor, parts.router(), release));
  }
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

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/manifest/anchor_manifest.h"
#include "common/manifest/release_manifest.h"
#include "coordinator/admission/admission.h"
#include "coordinator/admission/job_folder.h"
#include "coordinator/admission/task_runner.h"
#include "coordinator/storage/core.h"
#include "coordinator/storage/release_store.h"

namespace tributary::coordinator {

// Merges, evaluates and publishes releases.
class ReleaseBuilder {
 public:
  ReleaseBuilder(const Core& core, TaskRunner& runner)
      : core_(core), runner_(runner) {}

  // Builds a release that is BUILDING: merges its experts, materialises it,
  // evaluates it on public text, and publishes it or, when the policy refuses
  // it, records it as FAILED. Does nothing in any other state. A withdrawal
  // meanwhile wins: nothing is published then. CANCELLED or another error: run
  // it again.
  Status Build(int64_t number, const JobContext& context);

  // Records that a build was given up.
  Status Fail(int64_t number, const std::string& reason);

 private:
  struct Input {
    ReleaseRow row;
    manifest::AnchorManifest anchor;
    std::vector<std::string> contributions;
    // Envelope JSON, manifest JSON with its digest, and blob by contribution.
    std::map<std::string, std::string> envelopes;
    std::map<std::string, std::pair<std::string, std::string>> manifests;
    std::map<std::string, BlobName> blobs;
    std::map<std::string, BlobName> statistics;  // of those that have some
    std::string refused;  // why it cannot be built, if so
  };

  StatusOr<std::optional<Input>> Load(int64_t number);
  StatusOr<manifest::ReleaseManifest> MergeExperts(const Input& input,
                                                   const JobContext& context);
  // Replaces the rows of a merge where the mode says so: makes the router file
  // at `router` anew and names it in `release`.
  Status MakeRouter(const Input& input, const JobFolder& folder,
                    const JobContext& context,
                    const std::filesystem::path& router,
                    manifest::ReleaseManifest& release);
  StatusOr<std::vector<EvaluationRow>> Evaluate(const Input& input,
                                                const JobContext& context);
  Status Publish(const Input& input, const manifest::ReleaseManifest& release,
                 const std::vector<EvaluationRow>& evaluations);
  // Deletes what a release that is not served left on disk.
  Status CleanUp(int64_t number);

  const Core& core_;
  TaskRunner& runner_;
};

// Why the policy refuses a release with these losses, or nothing. A loss that
// is not finite, or a rise of public log-loss above `max_increase` (nats per
// token), is refused.
std::optional<std::string> RefuseRelease(
    const std::vector<EvaluationRow>& evaluations, double max_increase);

// Deletes a release's folder and its hold on its router file. Call it when the
// release is no longer served.
Status DropReleaseFiles(const Core& core, int64_t number);

}  // namespace tributary::coordinator

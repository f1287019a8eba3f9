#pragma once

// The part of the pipeline that never leaves the site: from text to a measured
// expert file and its egress report.

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/cancellation.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "contributor/cache/home.h"
#include "contributor/client/fetch.h"
#include "contributor/client/identity.h"
#include "contributor/egress/report.h"
#include "contributor/pipeline/losses.h"
#include "contributor/pipeline/plan.h"
#include "contributor/pipeline/settings.h"
#include "contributor/pipeline/stage.h"
#include "tributary/config/contributor.pb.h"

namespace tributary::contributor {

// For a person: what runs and how far it is.
using StageProgress = std::function<void(
    std::string_view stage, double fraction, std::string_view message)>;

// Facts of a fetched anchor as the pipeline needs them.
AnchorFacts FactsOf(const FetchedAnchor& anchor);

class LocalPipeline {
 public:
  // Settings are resolved and the text is looked at (not opened).
  // INVALID_ARGUMENT as ResolveSettings; NOT_FOUND when
  // text is not there.
  static StatusOr<LocalPipeline> Create(const Home& home,
                                        const config::ContributorConfig& config,
                                        const AnchorFacts& anchor);

  const Settings& settings() const { return settings_; }
  const AnchorFacts& anchor() const { return anchor_; }
  const std::vector<Stage>& stages() const { return stages_; }
  const StageStore& store() const { return store_; }

  // States of all stages, in order: behind one that is not done none is.
  StatusOr<std::vector<StageState>> States() const;

  // Runs what is missing up to and including the stage `last`. NOT_FOUND when
  // the recipe has no such stage.
  Status RunUpTo(std::string_view last, WorkerRunner& worker,
                 const StageProgress& progress);

  // Runs another stage, such as a release's evaluation.
  StatusOr<job::Result> RunStage(const Stage& stage, WorkerRunner& worker,
                                 const StageProgress& progress);

  // The result of a finished stage.
  StatusOr<job::Result> ResultOf(std::string_view stage) const;

  // Losses of the evaluate stage.
  StatusOr<std::vector<MeasuredLoss>> Losses() const;

  // What would leave, from finished stages.
  StatusOr<EgressReport> MakeReport(const Identity& identity,
                                    const SiteRules& rules) const;

  std::filesystem::path ExpertFile() const {
    return store_.Folder(kExport) / kExportFile;
  }
  // What goes with it for a ridge router; empty: nothing.
  std::filesystem::path StatisticsFile() const {
    return settings_.router_statistics
               ? store_.Folder(kCalibrate) / kSecondMomentsFile
               : std::filesystem::path();
  }

 private:
  LocalPipeline(Settings settings, AnchorFacts anchor, StageStore store)
      : settings_(std::move(settings)),
        anchor_(std::move(anchor)),
        store_(std::move(store)) {}
  StatusOr<manifest::ExpertManifest::Method> DescribeMethod() const;

  Settings settings_;
  AnchorFacts anchor_;
  StageStore store_;
  std::vector<Stage> stages_;
};

}  // namespace tributary::contributor

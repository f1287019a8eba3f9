#pragma once

// The stages of a contribution, from text to evaluated expert file.

#include <string>
#include <vector>

#include "contributor/pipeline/settings.h"
#include "contributor/pipeline/stage.h"

namespace tributary::contributor {

// Folder and command names.
inline constexpr char kPrepareText[] = "prepare_text";
inline constexpr char kCalibrate[] = "calibrate";
inline constexpr char kFitRouter[] = "fit_router";
inline constexpr char kTrain[] = "train";
inline constexpr char kPrune[] = "prune";
inline constexpr char kDistill[] = "distill";
inline constexpr char kExport[] = "export";
inline constexpr char kEvaluate[] = "evaluate";

// Output files that other stages and commands read.
inline constexpr char kTokensFile[] = "tokens.safetensors";
inline constexpr char kTrunkFile[] = "trunk.safetensors";
inline constexpr char kImportanceFile[] = "importance.safetensors";
inline constexpr char kSecondMomentsFile[] = "second_moments.safetensors";
inline constexpr char kActivationsFile[] = "activations.safetensors";
inline constexpr char kRouterFile[] = "router.safetensors";
inline constexpr char kRouterUnfoldedFile[] = "router_unfolded.safetensors";
inline constexpr char kTrainedRowsFile[] = "expert.router.safetensors";
inline constexpr char kTrainedFile[] = "expert.safetensors";
inline constexpr char kPrunedFile[] = "pruned.safetensors";
inline constexpr char kDistilledFile[] = "distilled.safetensors";
inline constexpr char kExportFile[] = "export.safetensors";

// Public files of an anchor directory.
inline constexpr char kPublicTokens[] = "public/tokens.safetensors";
inline constexpr char kPublicStatistics[] = "public/statistics.safetensors";

// The stages in the order in which they run. Paths of private text go into jobs
// as absolute paths; `text_fingerprint` stands for their content.
std::vector<Stage> PlanStages(const Settings& settings,
                              const AnchorFacts& anchor,
                              const StageStore& store,
                              const std::string& text_fingerprint);

// One of those stages by its name, or null: a recipe has no such stage.
const Stage* FindStage(const std::vector<Stage>& stages, std::string_view name);

// A fetched release that is measured.
struct ReleaseToEvaluate {
  std::string directory;  // native
  std::string id;         // its number
  std::string digest;
  // Its experts in order, and those of this site among them.
  std::vector<std::string> contributions;
  std::vector<std::string> own;
};

// A stage that measures anchor, own expert and a release on the same windows as
// the evaluate stage, and what the release's rows make of the own text. Its
// folder is "evaluate_release_{id}".
Stage PlanReleaseEvaluation(const Settings& settings, const AnchorFacts& anchor,
                            const StageStore& store,
                            const ReleaseToEvaluate& release);

}  // namespace tributary::contributor

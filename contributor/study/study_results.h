#pragma once

// What the finished stages of a study found.

#include <optional>
#include <string>
#include <vector>

#include "common/plot/line_chart.h"
#include "contributor/study/study_plan.h"
#include "nlohmann/json.hpp"

namespace tributary::contributor {

// A log-loss on the held-out windows, nats per token.
struct StudyLoss {
  double mean = 0;
  int64_t tokens = 0;
  std::vector<double> windows;  // means
};

struct StudyRow {
  StudyExpert expert;
  StudyLoss pruned;
  std::optional<StudyLoss> distilled;
};

struct StudyOverlap {
  int64_t layer = 0;
  int64_t channels = 0;
  std::vector<double> common;  // share of the top, one per fraction of the plan
  double rank_correlation = 0;
};

struct StudyResults {
  StudyLoss anchor;
  StudyLoss full;
  int64_t intermediate_size = 0;
  std::vector<StudyRow> rows;
  std::vector<double> fractions;
  std::vector<StudyOverlap> overlaps;
  // Training loss by step: of the teacher when it was trained here, and of
  // each distillation.
  std::vector<plot::Series> curves;
  // Facts of the text and of the stages' time.
  nlohmann::json text;
  std::vector<std::pair<std::string, double>> stage_seconds;

  // (anchor - loss) / (anchor - full): the share of the full expert's gain that
  // is kept. Nothing when the full expert gains nothing.
  std::optional<double> Retention(const StudyLoss& loss) const;
};

// The standard error of the mean difference of two losses over the same
// windows; 0 for fewer than two.
double StandardError(const StudyLoss& a, const StudyLoss& b);

// Overlap as CompareImportance reports it.
std::vector<StudyOverlap> OverlapOf(const job::CompareImportanceResult& result);

// FAILED_PRECONDITION when a stage is not done.
StatusOr<StudyResults> CollectStudy(const StudyPlan& plan,
                                    const StageStore& store,
                                    int64_t intermediate_size);

}  // namespace tributary::contributor

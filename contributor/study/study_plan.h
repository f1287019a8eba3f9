#pragma once

// The stages of a width study, each a folder of its own.

#include <string>
#include <vector>

#include "contributor/pipeline/stage.h"
#include "contributor/study/study_options.h"

namespace tributary::contributor {

inline constexpr char kStudyText[] = "text";
inline constexpr char kStudyGeneralText[] = "general_text";
inline constexpr char kStudyAnchor[] = "calibrate_anchor";
inline constexpr char kStudyRows[] = "fit_router";
inline constexpr char kStudyTeacher[] = "teacher";
inline constexpr char kStudyDomain[] = "calibrate_domain";
inline constexpr char kStudyGeneral[] = "calibrate_general";
inline constexpr char kStudyOverlap[] = "overlap";
inline constexpr char kStudyPrune[] = "prune";
inline constexpr char kStudyMeasurePruned[] = "measure_pruned";
inline constexpr char kStudyExport[] = "export";
inline constexpr char kStudyMeasureDistilled[] = "measure_distilled";

// How the channels of a narrow expert were chosen.
enum class Choice { kDomain, kGeneral, kRandom };
std::string_view ChoiceName(Choice choice);  // domain, general, random

// One narrow expert.
struct StudyExpert {
  Choice choice = Choice::kDomain;
  int64_t width = 0;
  bool distilled = false;

  // "domain-512": the label of its measurements and the name of its files.
  std::string name() const;
  std::string distill_stage() const { return "distill_" + name(); }
};

struct StudyPlan {
  std::vector<Stage> stages;
  std::vector<StudyExpert> experts;
  // Shares of the channels whose overlap is asked for, ascending.
  std::vector<double> fractions;
};

// `fingerprint` stands for the content of all inputs; `zero_router` is a file
// with rows of zeros for when there are no others.
StudyPlan PlanStudy(const StudyOptions& options, const StudyAnchor& anchor,
                    const StageStore& store, const std::string& fingerprint,
                    const std::string& zero_router);

}  // namespace tributary::contributor

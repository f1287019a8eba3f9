#pragma once

// A study's results for a person and for a script.

#include <filesystem>
#include <string>

#include "common/base/status.h"
#include "contributor/study/overlap_report.h"
#include "contributor/study/study_results.h"

namespace tributary::contributor {

// Names of things in the report.
struct StudyTitle {
  std::string domain;   // of the own text
  std::string general;  // of the general text
};

nlohmann::json ToJson(const StudyResults& results);
// Widths against held-out log-loss and retention, before and after
// distillation.
std::string StudyTable(const StudyResults& results);

// study.json, study.txt, retention.svg, loss.svg, the folder overlap/ and
// index.html, which holds everything in itself, in `folder`.
Status WriteStudyReport(const StudyResults& results, const StudyTitle& title,
                        const std::filesystem::path& folder);

}  // namespace tributary::contributor

#pragma once

// How much two importance files agree: JSON, a table and pictures.

#include <filesystem>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "contributor/study/study_results.h"

namespace tributary::contributor {

struct OverlapReport {
  // Names of the two files in text and pictures.
  std::string first;
  std::string second;
  // Shares of the channels that count as the top, ascending.
  std::vector<double> fractions;
  // The ones of them that the table and the summary show.
  std::vector<double> shown;
  std::vector<StudyOverlap> layers;
};

nlohmann::json ToJson(const OverlapReport& report);
// One line per layer.
std::string OverlapTable(const OverlapReport& report);
// By layer, a line for each shown top.
std::string OverlapSummaryPicture(const OverlapReport& report);
// One layer: by top, beside what chance gives.
std::string OverlapLayerPicture(const OverlapReport& report,
                                const StudyOverlap& layer);

// overlap.json, overlap.txt, summary.svg and layer-NN.svg in `folder`.
Status WriteOverlapReport(const OverlapReport& report,
                          const std::filesystem::path& folder);

}  // namespace tributary::contributor

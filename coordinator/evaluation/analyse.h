#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/json.h"
#include "common/base/status.h"
#include "common/model/load.h"
#include "coordinator/evaluation/node_limit.h"

namespace tributary::coordinator {

struct DomainText {
  std::string name;
  std::vector<std::filesystem::path> paths;
};

struct AnalyseOptions {
  model::Source model;
  std::vector<DomainText> domains;
  // Another release or mixture with the same tokenizer, for router saturation.
  std::optional<model::Source> reference;
  int64_t window_tokens = 256;
  int64_t max_windows = 64;  // of each domain
  int64_t min_token_count = 10;
  double importance_fraction = 0.25;
  NodeLimit nodes;  // to simulate
  model::LoadOptions load;
  std::function<void(double, const std::string&)> on_progress;
};

// All analyses of a mixture on texts, as one JSON object (docs/releases.md).
// INVALID_ARGUMENT for texts without a window of 2 tokens, otherwise as
// RecordRouting, LoadSource and ReadDocuments.
StatusOr<Json> AnalyseRouting(const AnalyseOptions& options);

}  // namespace tributary::coordinator

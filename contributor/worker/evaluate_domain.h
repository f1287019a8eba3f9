#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/model/causal_lm.h"

namespace tributary::contributor {

struct EvaluatedModel {
  std::string label;
  // The anchor's directory or a native release over the same anchor.
  std::filesystem::path directory;
  // Experts beside the anchor, and rows that replace theirs (empty or one for
  // each).
  std::vector<std::filesystem::path> expert_paths;
  std::vector<std::filesystem::path> router_paths;
  int64_t top_k = 0;  // 0: the model's own, 2 for an anchor with experts
  bool force_public = false;  // every token chooses the anchor's FFN, too
};

struct EvaluateDomainOptions {
  std::filesystem::path anchor_directory;
  // `split` int32 [windows, tokens].
  std::filesystem::path tokens_path;
  std::string split = "heldout";
  // The anchor's states in front of first_layer; empty: computed here, once
  // for all models.
  std::filesystem::path trunk_path;
  int64_t first_layer = 0;
  std::vector<EvaluatedModel> models;
  std::function<Status(double)> report;  // fraction done
};

struct EvaluatedLoss {
  std::string label;
  double log_loss = 0;  // nats per predicted token
  int64_t tokens = 0;   // predicted
  std::vector<double> window_losses;
};

// Log-losses of models of one anchor on the same windows. `anchor` is shared by
// every model that is made of it, not changed; without trunk_path it needs all
// its layers. INVALID_ARGUMENT for models with experts below the stored trunk
// and for unsuitable files, CANCELLED when `report` says so.
StatusOr<std::vector<EvaluatedLoss>> EvaluateDomain(
    const model::CausalLm& anchor, const EvaluateDomainOptions& options);

}  // namespace tributary::contributor

#pragma once

// What an export is compared with: logits of the native release, its router
// biases folded into the rows where a format has no place for them.

#include <cstdint>
#include <filesystem>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "common/model/load.h"

namespace tributary::coordinator {

struct Reference {
  at::Tensor ids_BS;
  at::Tensor logits_BSV;
  // Of logits with folded biases to those of the release itself.
  double max_fold_difference = 0;
  // Router rows [E, h] of each layer, biases folded in. The anchor alone has
  // one public row of zeros.
  std::vector<std::vector<float>> rows;
  model_format::ModelConfig config;  // of the anchor
  at::Tensor rope_frequencies;
  int64_t top_k = 0;  // at most as many as there are experts
  bool renormalise = true;
};

// Runs the release on public tokens of its anchor, or on ids spread over the
// vocabulary where it has none. `public_statistics` is needed where router
// biases have to be folded. Errors as LoadRelease and FoldBiases.
StatusOr<Reference> MakeReference(
    const std::filesystem::path& release,
    const std::filesystem::path& public_statistics,
    const model::LoadOptions& load);

// The largest absolute difference of the logits of `written`. DATA_LOSS when it
// is more than rounding.
StatusOr<double> CompareLogits(const model::CausalLm& written,
                               const Reference& reference);

}  // namespace tributary::coordinator

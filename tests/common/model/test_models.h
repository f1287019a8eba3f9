#pragma once

// Experts made at random beside the tiny anchor, and plain references.

#include <filesystem>
#include <string>
#include <vector>

#include "common/model/causal_lm.h"
#include "common/model/load.h"

namespace tributary::model {

inline std::filesystem::path TinyAnchor() {
  return std::filesystem::path(TRIBUTARY_SOURCE_DIR) /
         "tests/fixtures/tiny_anchor";
}

inline std::filesystem::path Reference(const std::string& name) {
  return std::filesystem::path(TRIBUTARY_SOURCE_DIR) /
         "tests/fixtures/reference" / name;
}

// An expert of the given widths with weights of the anchor's size and rows
// strong enough to choose it for about a part of all tokens.
inline Expert RandomExpert(const model_format::ModelConfig& anchor,
                           const std::vector<int64_t>& widths,
                           const std::string& name, int seed) {
  at::manual_seed(static_cast<uint64_t>(seed));
  Expert expert;
  expert.name = name;
  const int64_t h = anchor.hidden_size;
  for (const int64_t width : widths) {
    std::optional<Ffn> ffn;
    if (width > 0) {
      ffn = Ffn{.gate_FD = at::randn({width, h}) * 0.1,
                .up_FD = at::randn({width, h}) * 0.1,
                .down_DF = at::randn({h, width}) * 0.1};
      for (Tensor* weight : {&ffn->gate_FD, &ffn->up_FD, &ffn->down_DF}) {
        *weight = weight->to(at::kBFloat16).to(at::kFloat);
      }
    }
    expert.layers.push_back(std::move(ffn));
    expert.router_D.push_back(at::randn({h}) * 0.5);
    expert.router_bias.push_back(at::zeros({}));
  }
  return expert;
}

}  // namespace tributary::model

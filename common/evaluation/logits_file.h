#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/model/causal_lm.h"

namespace tributary::evaluation {

struct LogitsOptions {
  std::function<void(double)> on_progress;
  const CancellationToken* cancellation = nullptr;
};

// Writes `logits` float32 [B, S, V] of ids [B, S] to a safetensors file, row
// of the batch by row: memory holds the logits of one sequence.
Status WriteLogits(const model::CausalLm& lm, const at::Tensor& ids_BS,
                   const std::filesystem::path& output,
                   const LogitsOptions& options = {});

}  // namespace tributary::evaluation

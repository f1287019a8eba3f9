#pragma once

#include <vector>

#include "common/model/causal_lm.h"
#include "common/model/load.h"
#include "common/safetensors/reader.h"
#include "coordinator/validation/validate_expert.h"

namespace tributary::coordinator {

// Strict safetensors, no metadata, exactly the tensors of the anchor and the
// widths. Opens the file into `file` when it passes.
GateResult CheckFile(const model_format::ModelConfig& anchor,
                     const ValidateExpertOptions& options,
                     std::shared_ptr<const safetensors::File>* file);

// Every value finite; RMS and largest absolute value of each matrix against
// the anchor's FFN in the same layer.
StatusOr<GateResult> CheckValues(const model::CausalLm& anchor,
                                 const model::Expert& expert,
                                 const ValidationLimits& limits);

// Norms of the rows, and the share of public prose that they capture in the
// layers where the expert has weights: mean of sigmoid(x.r + b).
StatusOr<GateResult> CheckRouter(const model::Expert& expert,
                                 const safetensors::File& statistics,
                                 const ValidationLimits& limits);

// What the expert does to public prose wherever it has weights: the norm of its
// output over that of the anchor's FFN for the same token. The router's share
// says how often it speaks, this how loud.
StatusOr<GateResult> CheckBehaviour(const model::CausalLm& anchor,
                                    const model::Expert& expert,
                                    const safetensors::File& statistics,
                                    const ValidationLimits& limits);

// Public held-out log-loss of the anchor and of the anchor with the expert.
StatusOr<GateResult> CheckEvaluation(const model::CausalLm& anchor,
                                     model::Expert expert,
                                     const at::Tensor& heldout_WS,
                                     const ValidateExpertOptions& options);

}  // namespace tributary::coordinator

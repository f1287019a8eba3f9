#pragma once

// A mixture over a Llama anchor as llama.cpp stores it (architecture "llama"
// with experts): names, shapes and metadata.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/model_format/model_config.h"
#include "common/safetensors/header.h"
#include "coordinator/export/gguf_file.h"

namespace tributary::coordinator {

// One tensor of the file and the Hugging Face (mixtral) tensors it is made of.
struct GgufPart {
  gguf::Tensor tensor;
  // One, or those of all experts in order, stacked along a new first dimension.
  std::vector<std::string> sources;
  // Not 0: rows of q or k, whose rotary pairs lie side by side within each of
  // so many heads.
  int64_t heads = 0;
  // Values that are computed rather than copied (rope_freqs).
  std::vector<float> values;
};

struct GgufModel {
  model_format::ModelConfig anchor;
  int64_t num_experts = 0;
  int64_t top_k = 0;
  // Angular frequencies of a head's pairs [C / 2].
  std::vector<float> rope_frequencies;
};

// The tensors in the order of the file. `spec_of` finds a mixtral tensor.
// NOT_FOUND when one is missing.
StatusOr<std::vector<GgufPart>> PlanGguf(
    const GgufModel& model,
    const std::function<const safetensors::TensorSpec*(const std::string&)>&
        spec_of);

// general.* and llama.* entries. `file_type` by the experts' element type.
gguf::Metadata ModelMetadata(const GgufModel& model, const std::string& name,
                             gguf::Type experts);

// tokenizer.* entries from the tokenizer.json (and tokenizer_config.json) of a
// folder. UNIMPLEMENTED for a pre-tokenizer that llama.cpp has no name for.
StatusOr<gguf::Metadata> TokenizerMetadata(
    const std::filesystem::path& folder,
    const model_format::ModelConfig& config);

// The row of a q or k matrix that is stored at `row`; `to_gguf` false for the
// way back.
int64_t PermutedRow(int64_t row, int64_t head_dim, bool to_gguf);

}  // namespace tributary::coordinator

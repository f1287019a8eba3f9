#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/model/causal_lm.h"

namespace tributary::model {

struct LoadOptions {
  // Layers below are left out: for callers that start from a stored trunk.
  int64_t first_layer = 0;
  // Whether the input embedding is needed when it is not also the head.
  bool embedding = true;
  at::Device device = at::kCPU;
  // Of the weights in memory. Norms and routers are always fp32.
  at::ScalarType dtype = at::kFloat;
  // Checked between layers; null: never.
  const CancellationToken* cancellation = nullptr;
};

// Loads a directory: Hugging Face (llama, olmo2, mixtral, olmoe, flex_olmo)
// or a native release (release.json). Errors as HfDirectory::Open; besides,
// INVALID_ARGUMENT for weights that are not of the anchor's shapes.
StatusOr<CausalLm> LoadModel(const std::filesystem::path& directory,
                             const LoadOptions& options = {});

// An expert in memory, as an expert file stores it; weights are fp32 or bf16.
struct Expert {
  std::string name;
  // Per layer; nullopt where the width is 0.
  std::vector<std::optional<Ffn>> layers;
  std::vector<Tensor> router_D;     // per layer, fp32 [D]
  std::vector<Tensor> router_bias;  // per layer, fp32 []

  std::vector<int64_t> widths() const;
};

// Reads an expert file and checks it against the anchor; `router_path`, when
// not empty, replaces the rows. Accepts fp32 weights as well as bf16 ones, and
// files without rows when router_path gives them.
StatusOr<Expert> LoadExpert(const model_format::ModelConfig& anchor,
                            const std::filesystem::path& path,
                            const std::filesystem::path& router_path = {},
                            const LoadOptions& options = {});

// Puts an expert beside the anchor and the experts that are there. The first
// one turns each layer into {public, expert} with a public row of zeros.
// FAILED_PRECONDITION for a mixture that has no anchor FFN.
Status AttachExpert(CausalLm& lm, Expert expert);

// A model as commands name it: a directory, experts beside it, and files whose
// rows replace theirs (none, or one for each; an empty path keeps the rows).
struct Source {
  std::filesystem::path directory;
  std::vector<std::filesystem::path> expert_paths;
  std::vector<std::filesystem::path> router_paths;
  int64_t top_k = 0;  // 0: the model's own, 2 for an anchor with experts
  bool force_public = false;  // CausalLm::force_public
};

// LoadModel, LoadExpert and AttachExpert. INVALID_ARGUMENT for as many rows as
// there are no experts, and a negative top_k.
StatusOr<CausalLm> LoadSource(const Source& source,
                              const LoadOptions& options = {});

// SHA-256 (hex) over name, shape and bytes of every tensor that is neither an
// expert's nor a router's, in a fixed order: equal before and after training.
StatusOr<std::string> DigestFrozen(const CausalLm& lm);

}  // namespace tributary::model

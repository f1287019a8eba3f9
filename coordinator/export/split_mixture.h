#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "common/base/status.h"
#include "common/model/load.h"

namespace tributary::coordinator {

struct SplitOptions {
  std::filesystem::path model_directory;  // mixtral, olmoe or flex_olmo
  std::filesystem::path output;           // a folder that must not exist
  // Names the anchor; its experts are `name`-001 and so on.
  std::string name;
  model::LoadOptions load;
  std::function<void(double, const std::string&)> on_progress;
};

struct SplitResult {
  int64_t experts = 0;  // without the one that became the anchor's FFN
  // To the mixture itself, on ids spread over the vocabulary.
  double max_logit_difference = 0;
  int64_t compared_tokens = 0;
  bool rounded = false;  // experts were not bf16
};

// Takes a Hugging Face mixture apart into a native release without an envelope:
// its expert 0 becomes the FFN of a dense anchor (llama for mixtral, olmo2 for
// flex_olmo, an olmoe of one expert for olmoe), the others expert files whose
// router rows are the mixture's minus row 0: a softmax does not change when all
// logits lose the same number, so the release computes what the mixture does,
// in which the public row is zero. Expert files are bf16; experts in another
// precision are rounded. The release is loaded and its logits compared:
// DATA_LOSS when they differ by more than rounding. INVALID_ARGUMENT for less
// than two experts.
StatusOr<SplitResult> SplitMixture(const SplitOptions& options);

}  // namespace tributary::coordinator

#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "common/base/status.h"
#include "common/model/load.h"

namespace tributary::coordinator {

struct ExportOptions {
  std::filesystem::path release_directory;  // native
  std::filesystem::path output;             // must not exist
  // statistics.safetensors, for folding router biases; may be empty when there
  // are none.
  std::filesystem::path public_statistics_path;
  // Largest weight file, bytes; 0: 5 GB. More of them come with an index.
  uint64_t shard_bytes = 0;
  // Content of README.md; empty: none.
  std::string readme;
  model::LoadOptions load;
  std::function<void(double, const std::string&)> on_progress;
};

struct ExportResult {
  int64_t experts = 0;       // with the public one
  int64_t padded_width = 0;  // of all experts
  // Largest absolute difference of logits: the written model against the
  // native one with folded biases, and that one against the release itself.
  double max_logit_difference = 0;
  double max_fold_difference = 0;
  int64_t compared_tokens = 0;
  int64_t weight_files = 0;
  uint64_t weight_bytes = 0;
};

// Writes a release as a mixture that Hugging Face transformers load: mixtral
// over llama anchors, flex_olmo over olmo2 ones. Experts are padded with zero
// channels to one width (exact); where an expert has no weights its slot is a
// copy of the anchor's FFN, which is what it stands for. The folder appears
// under `output` after every tensor was read again and compared, and the model
// was loaded and its logits on public tokens compared with the release's.
// ALREADY_EXISTS when `output` is there, DATA_LOSS when a comparison fails.
StatusOr<ExportResult> ExportHuggingFace(const ExportOptions& options);

}  // namespace tributary::coordinator

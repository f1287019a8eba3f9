#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "common/base/status.h"
#include "common/model/load.h"

namespace tributary::coordinator {

struct GgufExportOptions {
  std::filesystem::path release_directory;  // native
  std::filesystem::path output;             // a file that must not exist
  // As in ExportOptions.
  std::filesystem::path public_statistics_path;
  std::string name;  // general.name of the file
  model::LoadOptions load;
  std::function<void(double, const std::string&)> on_progress;
};

struct GgufExportResult {
  int64_t experts = 0;
  int64_t padded_width = 0;
  double max_logit_difference = 0;
  double max_fold_difference = 0;
  int64_t compared_tokens = 0;
  int64_t tensors = 0;
  uint64_t file_bytes = 0;
};

// Writes a release over a Llama anchor as one GGUF file of llama.cpp's "llama"
// architecture with experts (Mixtral's: softmax over all, top-k, renormalised),
// in the anchor's own precision. The file is read again into a Hugging Face
// mixture, metadata and all, and appears under its name when that one's logits
// are the release's. UNIMPLEMENTED for other anchors and for tokenizers without
// a name there; otherwise as ExportHuggingFace.
StatusOr<GgufExportResult> ExportGguf(const GgufExportOptions& options);

}  // namespace tributary::coordinator

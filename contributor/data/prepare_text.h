#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace tributary::contributor {

struct PrepareTextOptions {
  std::filesystem::path tokenizer_path;
  std::vector<std::filesystem::path> train_paths;
  // Empty: split off the training documents by their digests.
  std::vector<std::filesystem::path> heldout_paths;
  std::string text_field = "text";
  int64_t window_tokens = 256;
  int64_t max_train_windows = 0;         // 0 for all
  int64_t max_heldout_windows = 0;       // 0 for all
  int64_t max_windows_per_document = 0;  // 0 for all
  // An expert made of less is refused; both count what goes into `train`.
  int64_t min_documents = 0;
  int64_t min_tokens = 0;
};

struct PreparedText {
  int64_t train_documents = 0;  // that windows were taken from
  int64_t heldout_documents = 0;
  int64_t train_tokens = 0;
  int64_t heldout_tokens = 0;
  int64_t skipped_documents = 0;  // shorter than a window
  std::string digest;             // SHA-256 of the written file, hexadecimal
};

// Documents to `output_path`, a safetensors file with `train` and `heldout`,
// int32 [windows, window_tokens]. Equal documents count once, and one that is
// held out is never trained on. The result is a function of the set of
// documents. FAILED_PRECONDITION when there is no window or less than the
// minimum, with the numbers; otherwise errors as documents.h.
StatusOr<PreparedText> PrepareText(const PrepareTextOptions& options,
                                   const std::filesystem::path& output_path);

}  // namespace tributary::contributor

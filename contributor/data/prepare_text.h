#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
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
  // Whether several documents may share a window.
  enum class Packing { kNone, kShared } packing = Packing::kNone;
  // An expert made of less is refused; both count what goes into `train`.
  int64_t min_documents = 0;
  int64_t min_tokens = 0;
  // Where token ids are kept for later runs; empty: nowhere. What is in it is
  // pruned to `max_cache_bytes` at the end, longest unused first.
  std::filesystem::path cache_directory;
  uint64_t max_cache_bytes = 8ull << 30;
  int threads = 1;
  // A longer document is read in parts; see text::DocumentOptions.
  size_t max_document_bytes = 4u << 20;
  // Told how much has been read, 0 to 1; its error ends the run.
  std::function<Status(double)> report;
};

struct PreparedText {
  int64_t train_documents = 0;  // that windows were taken from
  int64_t heldout_documents = 0;
  int64_t train_tokens = 0;
  int64_t heldout_tokens = 0;
  int64_t skipped_documents = 0;  // shorter than a window
  int64_t cut_documents = 0;      // so long that they were read in parts
  int64_t tokenised_documents = 0;
  int64_t cached_documents = 0;  // not tokenised: their ids were in the cache
  std::string digest;            // SHA-256 of the written file, hexadecimal
};

// Documents to `output_path`, a safetensors file with `train` and `heldout`,
// int32 [windows, window_tokens], and with shared windows `train_documents` and
// `heldout_documents` of the same shapes: for each token the index of its
// document within its window, from 0.
//
// Equal documents count once, and one that is held out is never trained on. The
// result is a function of the set of documents: not of files, their order,
// threads, the cache, or of having been killed and started again. Memory does
// not grow with the corpus: about 8 MiB of text in work, twice a document, and
// 16 bytes for each window of the longest document.
//
// FAILED_PRECONDITION when there is no window or less than the minimum, with
// the numbers; otherwise errors as text/document_reader.h. Working files lie
// beside `output_path`.
StatusOr<PreparedText> PrepareText(const PrepareTextOptions& options,
                                   const std::filesystem::path& output_path);

}  // namespace tributary::contributor

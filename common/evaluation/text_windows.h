#pragma once

// Text files to windows of token ids: what evaluation and public statistics
// are measured on.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/tokenizer/tokenizer.h"

namespace tributary::evaluation {

using Windows = std::vector<std::vector<int32_t>>;

// All documents of text files and folders, as text/document_reader.h reads
// them, whose errors it returns.
StatusOr<std::vector<std::string>> ReadDocuments(
    const std::vector<std::filesystem::path>& paths);

struct WindowOptions {
  int64_t window_tokens = 256;
  // 0: all.
  int64_t max_windows = 0;
  // What becomes of the end of a document that does not fill a window.
  enum class Rest { kDrop, kKeep } rest = Rest::kDrop;
};

// Cuts documents into windows of one document's tokens each, without adding
// any token: the first windows of all documents in order, then the second
// ones, and so on, until there are enough. Rests of 2 tokens and more count as
// windows when they are kept.
StatusOr<Windows> CutWindows(const tokenizer::Tokenizer& tokenizer,
                             const std::vector<std::string>& documents,
                             const WindowOptions& options);

// The same from text files and folders, without holding more documents than
// windows are cut from. Reads only as many as needed.
StatusOr<Windows> CutTextWindows(
    const tokenizer::Tokenizer& tokenizer,
    const std::vector<std::filesystem::path>& paths,
    const WindowOptions& options);

// Windows of equal length as int32 [W, S].
at::Tensor ToTensor(const Windows& windows, int64_t window_tokens);

}  // namespace tributary::evaluation

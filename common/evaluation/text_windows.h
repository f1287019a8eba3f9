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

// The documents of text files and of folders of them, files by name: .jsonl
// with a string field "text" per line, .txt with documents between blank
// lines. Empty documents are left out. NOT_FOUND for a missing path,
// INVALID_ARGUMENT naming file and line for bad JSON, a missing field, text
// that is not UTF-8 or a file of another kind.
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

// Windows of equal length as int32 [W, S].
at::Tensor ToTensor(const Windows& windows, int64_t window_tokens);

}  // namespace tributary::evaluation

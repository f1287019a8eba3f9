#pragma once

// Windows: what a corpus becomes. Each holds exactly `window_tokens` real
// tokens of one document; nothing is appended, nothing crosses documents.

#include <cstdint>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/tokenizer/tokenizer.h"

namespace tributary::contributor {

// A document with the digest that orders it and that a split goes by.
struct Document {
  std::string digest;  // SHA-256 of the text, 32 bytes
  std::string text;
};

struct WindowOptions {
  int64_t window_tokens = 256;
  int64_t max_windows = 0;               // 0 for all
  int64_t max_windows_per_document = 0;  // 0 for all
};

struct Windows {
  std::vector<int32_t> ids;  // [windows, window_tokens]
  int64_t windows = 0;
  int64_t documents = 0;  // that windows were taken from
  int64_t skipped = 0;    // shorter than a window
};

// Cuts documents into consecutive windows and takes the first window of every
// document, then the second, and so on, documents in the order of their
// digests: a function of the set of documents. Tokenises only as many as it
// needs.
StatusOr<Windows> CutWindows(std::vector<Document> documents,
                             const tokenizer::Tokenizer& tokenizer,
                             const WindowOptions& options);

struct Split {
  std::vector<Document> train;
  std::vector<Document> heldout;
};

// Holds out the documents whose digests fall into the lowest eighth, at least
// one and never all of several: a document stays on its side when others come
// and go.
Split SplitByDigest(std::vector<Document> documents);

}  // namespace tributary::contributor

#pragma once

// One pass over a corpus: documents to token ids in the store and rows in the
// selection, in bounded memory.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/text/document_reader.h"
#include "common/tokenizer/tokenizer.h"
#include "contributor/data/selection.h"
#include "contributor/data/token_store.h"

namespace tributary::contributor {

struct TextScanOptions {
  std::vector<std::filesystem::path> paths;
  text::DocumentOptions documents;
  // The side of all documents; nothing: by digest (SideOf).
  std::optional<Side> side;
  int threads = 1;
  // Told how much has been read, 0 to 1; its error ends the scan.
  std::function<Status(double)> report;
};

struct TextScanSummary {
  text::ReadSummary read;
  int64_t tokenised = 0;  // documents and parts of long ones
  int64_t reused = 0;     // whose ids were in the store
};

// Reads all documents. Those that are held out are excluded from a later scan
// for training. The result does not depend on the number of threads, nor on the
// order of documents. Errors as DocumentReader and TokenStore.
StatusOr<TextScanSummary> ScanText(const TextScanOptions& options,
                                   const tokenizer::Tokenizer& tokenizer,
                                   Selection* selection, TokenStore* store);

}  // namespace tributary::contributor

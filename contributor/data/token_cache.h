#pragma once

// The folder of token stores: one file for each tokenizer and each way of using
// it, bounded together. It lies beside private text and is as private.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "common/base/files.h"
#include "common/base/status.h"
#include "contributor/data/token_store.h"

namespace tributary::contributor {

struct TokenCacheOptions {
  // Empty: only for this run, at `scratch_path`.
  std::filesystem::path directory;
  std::filesystem::path scratch_path;
  std::string tokenizer_digest;  // of tokenizer.json
  uint64_t max_bytes = 8ull << 30;
};

class TokenCache {
 public:
  // When another process works with the folder, this run does without it.
  static StatusOr<std::unique_ptr<TokenCache>> Open(TokenCacheOptions options);
  // Removes the file that was for this run only.
  ~TokenCache();

  TokenStore& store() { return *store_; }

  // Throws the store away and opens an empty one.
  Status Reset();

  // Deletes stores of other tokenizers, then entries of this one, longest
  // unused first, until all take at most max_bytes.
  Status Prune();

 private:
  explicit TokenCache(TokenCacheOptions options)
      : options_(std::move(options)) {}

  const TokenCacheOptions options_;
  std::optional<FileLock> lock_;  // nothing: the store is for this run only
  std::filesystem::path path_;
  std::unique_ptr<TokenStore> store_;
};

}  // namespace tributary::contributor

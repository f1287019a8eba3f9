#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "common/base/status.h"

namespace tributary::tokenizer {

// A memory of words already encoded. It forgets everything when it is full.
class WordCache {
 public:
  WordCache();

  // Appends the ids of `word` to `out` when they are known.
  bool Find(std::string_view word, std::vector<int32_t>* out) const;
  void Insert(std::string_view word, const int32_t* ids, size_t count);

 private:
  struct Entry {
    uint64_t hash = 0;
    uint32_t text_begin = 0;
    uint32_t text_size = 0;  // 0: free
    uint32_t ids_begin = 0;
    uint32_t ids_size = 0;
  };
  size_t Slot(std::string_view word, uint64_t hash) const;

  std::vector<Entry> entries_;
  std::string text_;
  std::vector<int32_t> ids_;
  size_t used_ = 0;
};

// Byte-pair encoding of words, which are sequences of bytes.
class Bpe {
 public:
  struct Options {
    // Tokens by their spelling in the byte-level alphabet.
    std::unordered_map<std::string, int32_t> vocabulary;
    // Pairs of tokens by descending priority.
    std::vector<std::pair<std::string, std::string>> merges;
    // Stands for bytes that are not in the vocabulary; empty: they are dropped.
    std::string unknown_token;
    enum class Unknown { kEach, kFuse } unknown = Unknown::kEach;
    // Whether a word that is a token becomes that token without merging.
    enum class WholeWords { kMerge, kLookUp } whole_words = WholeWords::kMerge;
  };

  // What one thread needs to encode.
  struct Scratch {
    WordCache cache;
    std::vector<int32_t> symbols;
    std::vector<uint32_t> ranks;
    std::vector<int32_t> next;
    std::vector<int32_t> previous;
    std::vector<std::pair<uint32_t, int32_t>> heap;
  };

  // INVALID_ARGUMENT for merges whose parts or results are not tokens.
  static StatusOr<Bpe> Create(Options options);

  // Appends the ids of `word` to `out`.
  void Encode(std::string_view word, Scratch* scratch,
              std::vector<int32_t>* out) const;

  const std::unordered_map<std::string, int32_t>& vocabulary() const {
    return vocabulary_;
  }

 private:
  struct Merge {
    uint64_t pair = ~0ull;
    uint32_t rank = 0;
    int32_t result = 0;
  };
  static constexpr uint32_t kNoRank = ~0u;

  explicit Bpe(Options options);
  Status AddMerges(
      const std::vector<std::pair<std::string, std::string>>& merges);
  const Merge* FindMerge(int32_t left, int32_t right) const;
  uint32_t Rank(int32_t left, int32_t right) const {
    const Merge* merge = FindMerge(left, right);
    return merge == nullptr ? kNoRank : merge->rank;
  }
  void FirstSymbols(std::string_view word, std::vector<int32_t>* symbols) const;
  void MergeShort(Scratch* scratch) const;
  void MergeLong(Scratch* scratch) const;

  std::unordered_map<std::string, int32_t> vocabulary_;
  std::unordered_map<std::string, int32_t> whole_words_;  // keyed by raw bytes
  std::array<int32_t, 256> byte_ids_ = {};                // -1: no token
  int32_t unknown_id_ = -1;
  bool fuse_unknown_ = false;
  std::vector<Merge> merges_;  // open addressing
  size_t merge_mask_ = 0;
};

}  // namespace tributary::tokenizer

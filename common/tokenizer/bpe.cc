#include "common/tokenizer/bpe.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "common/tokenizer/byte_level.h"

namespace tributary::tokenizer {
namespace {

// Up to this many symbols a scan for the best pair beats a heap.
constexpr size_t kShortWord = 48;

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 |
         static_cast<uint32_t>(right);
}

size_t PairSlot(uint64_t pair) {
  pair *= 0x9e3779b97f4a7c15;
  return pair ^ pair >> 29;
}

}  // namespace

Bpe::Bpe(Options options)
    : vocabulary_(std::move(options.vocabulary)),
      fuse_unknown_(options.unknown == Options::Unknown::kFuse) {
  for (size_t byte = 0; byte < 256; ++byte) {
    const auto found = vocabulary_.find(ByteLevelAlphabet()[byte]);
    byte_ids_[byte] = found == vocabulary_.end() ? -1 : found->second;
  }
  if (options.whole_words == Options::WholeWords::kLookUp) {
    for (const auto& [token, id] : vocabulary_) {
      if (auto bytes = ByteLevelDecode(token)) {
        whole_words_.emplace(*std::move(bytes), id);
      }
    }
  }
}

StatusOr<Bpe> Bpe::Create(Options options) {
  const auto merges = std::move(options.merges);
  const std::string unknown = options.unknown_token;
  Bpe bpe(std::move(options));
  if (!unknown.empty()) {
    const auto found = bpe.vocabulary_.find(unknown);
    if (found == bpe.vocabulary_.end()) {
      return InvalidArgument("unk_token \"{}\" is not in the vocabulary",
                             unknown);
    }
    bpe.unknown_id_ = found->second;
  }
  RETURN_IF_ERROR(bpe.AddMerges(merges));
  return bpe;
}

Status Bpe::AddMerges(
    const std::vector<std::pair<std::string, std::string>>& merges) {
  merges_.assign(std::bit_ceil(merges.size() * 2 + 1), Merge());
  merge_mask_ = merges_.size() - 1;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const auto& [left, right] = merges[rank];
    const auto a = vocabulary_.find(left);
    const auto b = vocabulary_.find(right);
    const auto whole = vocabulary_.find(left + right);
    for (const auto& part : {a, b, whole}) {
      if (part == vocabulary_.end()) {
        return InvalidArgument(
            "merge {} of \"{}\" and \"{}\": {} is not in the vocabulary", rank,
            left, right,
            a == vocabulary_.end()   ? "the first part"
            : b == vocabulary_.end() ? "the second part"
                                     : "the result");
      }
    }
    const uint64_t pair = PairKey(a->second, b->second);
    size_t slot = PairSlot(pair) & merge_mask_;
    while (merges_[slot].pair != ~0ull && merges_[slot].pair != pair) {
      slot = (slot + 1) & merge_mask_;
    }
    merges_[slot] = {pair, static_cast<uint32_t>(rank), whole->second};
  }
  return absl::OkStatus();
}

const Bpe::Merge* Bpe::FindMerge(int32_t left, int32_t right) const {
  const uint64_t pair = PairKey(left, right);
  for (size_t slot = PairSlot(pair) & merge_mask_;;
       slot = (slot + 1) & merge_mask_) {
    const Merge& merge = merges_[slot];
    if (merge.pair == pair) {
      return &merge;
    }
    if (merge.pair == ~0ull) {
      return nullptr;
    }
  }
}

void Bpe::FirstSymbols(std::string_view word,
                       std::vector<int32_t>* symbols) const {
  symbols->clear();
  bool after_unknown = false;
  for (const char c : word) {
    const int32_t id = byte_ids_[static_cast<unsigned char>(c)];
    if (id >= 0) {
      symbols->push_back(id);
    } else if (unknown_id_ >= 0 && !(fuse_unknown_ && after_unknown)) {
      symbols->push_back(unknown_id_);
    }
    after_unknown = id < 0;
  }
}

void Bpe::Encode(std::string_view word, Scratch* scratch,
                 std::vector<int32_t>* out) const {
  if (word.size() == 1 && byte_ids_[static_cast<unsigned char>(word[0])] >= 0) {
    out->push_back(byte_ids_[static_cast<unsigned char>(word[0])]);
    return;
  }
  if (scratch->cache.Find(word, out)) {
    return;
  }
  if (!whole_words_.empty()) {
    const auto found = whole_words_.find(std::string(word));
    if (found != whole_words_.end()) {
      out->push_back(found->second);
      scratch->cache.Insert(word, &found->second, 1);
      return;
    }
  }
  FirstSymbols(word, &scratch->symbols);
  if (scratch->symbols.size() <= kShortWord) {
    MergeShort(scratch);
  } else {
    MergeLong(scratch);
  }
  const std::vector<int32_t>& ids = scratch->symbols;
  out->insert(out->end(), ids.begin(), ids.end());
  scratch->cache.Insert(word, ids.data(), ids.size());
}

void Bpe::MergeShort(Scratch* scratch) const {
  std::vector<int32_t>& symbols = scratch->symbols;
  std::vector<uint32_t>& ranks = scratch->ranks;  // of the pair (i, i + 1)
  ranks.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i) {
    ranks.push_back(Rank(symbols[i], symbols[i + 1]));
  }
  while (!ranks.empty()) {
    const auto best = std::min_element(ranks.begin(), ranks.end());
    if (*best == kNoRank) {
      return;
    }
    const ptrdiff_t at = best - ranks.begin();
    const auto i = static_cast<size_t>(at);
    symbols[i] = FindMerge(symbols[i], symbols[i + 1])->result;
    symbols.erase(symbols.begin() + at + 1);
    ranks.erase(ranks.begin() + at);
    if (i > 0) {
      ranks[i - 1] = Rank(symbols[i - 1], symbols[i]);
    }
    if (i + 1 < symbols.size()) {
      ranks[i] = Rank(symbols[i], symbols[i + 1]);
    }
  }
}

// A heap of (rank, position of the left symbol) over a linked list; an entry is
// stale when the pair at its position has another rank by now.
void Bpe::MergeLong(Scratch* scratch) const {
  std::vector<int32_t>& symbols = scratch->symbols;
  std::vector<int32_t>& next = scratch->next;
  std::vector<int32_t>& previous = scratch->previous;
  std::vector<uint32_t>& ranks = scratch->ranks;
  auto& heap = scratch->heap;
  const auto count = static_cast<int32_t>(symbols.size());
  next.resize(symbols.size());
  previous.resize(symbols.size());
  ranks.assign(symbols.size(), kNoRank);
  heap.clear();
  const auto update = [&](int32_t at) {
    const auto i = static_cast<size_t>(at);
    ranks[i] = next[i] < count
                   ? Rank(symbols[i], symbols[static_cast<size_t>(next[i])])
                   : kNoRank;
    if (ranks[i] != kNoRank) {
      heap.emplace_back(ranks[i], at);
      std::push_heap(heap.begin(), heap.end(), std::greater<>());
    }
  };
  for (int32_t at = 0; at < count; ++at) {
    next[static_cast<size_t>(at)] = at + 1;
    previous[static_cast<size_t>(at)] = at - 1;
  }
  for (int32_t at = 0; at < count; ++at) {
    update(at);
  }
  while (!heap.empty()) {
    const auto [rank, at] = heap.front();
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    heap.pop_back();
    const auto i = static_cast<size_t>(at);
    if (ranks[i] != rank) {
      continue;
    }
    const auto right = static_cast<size_t>(next[i]);
    symbols[i] = FindMerge(symbols[i], symbols[right])->result;
    ranks[right] = kNoRank;
    symbols[right] = -1;  // gone
    next[i] = next[right];
    if (next[i] < count) {
      previous[static_cast<size_t>(next[i])] = at;
    }
    update(at);
    if (previous[i] >= 0) {
      update(previous[i]);
    }
  }
  std::erase(symbols, -1);
}

}  // namespace tributary::tokenizer

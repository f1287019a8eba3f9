#include <bit>
#include <cstring>

#include "common/tokenizer/bpe.h"

namespace tributary::tokenizer {
namespace {

constexpr size_t kSlots = 1 << 16;
constexpr size_t kMaxUsed = kSlots / 2;
constexpr size_t kMaxWordBytes = 64;

uint64_t Hash(std::string_view word) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
  uint64_t hash = word.size() * kMultiplier;
  while (word.size() > 8) {
    uint64_t part = 0;
    std::memcpy(&part, word.data(), 8);
    hash = (std::rotl(hash, 29) ^ part) * kMultiplier;
    word.remove_prefix(8);
  }
  uint64_t part = 0;
  std::memcpy(&part, word.data(), word.size());
  hash = (std::rotl(hash, 29) ^ part) * kMultiplier;
  return hash ^ hash >> 32;
}

}  // namespace

WordCache::WordCache() : entries_(kSlots) {}

size_t WordCache::Slot(std::string_view word, uint64_t hash) const {
  size_t slot = hash & (kSlots - 1);
  while (entries_[slot].text_size != 0) {
    const Entry& entry = entries_[slot];
    if (entry.hash == hash && std::string_view(text_).substr(
                                  entry.text_begin, entry.text_size) == word) {
      break;
    }
    slot = (slot + 1) & (kSlots - 1);
  }
  return slot;
}

bool WordCache::Find(std::string_view word, std::vector<int32_t>* out) const {
  if (word.size() > kMaxWordBytes) {
    return false;
  }
  const Entry& entry = entries_[Slot(word, Hash(word))];
  if (entry.text_size == 0) {
    return false;
  }
  const int32_t* ids = ids_.data() + entry.ids_begin;
  out->insert(out->end(), ids, ids + entry.ids_size);
  return true;
}

void WordCache::Insert(std::string_view word, const int32_t* ids,
                       size_t count) {
  if (word.empty() || word.size() > kMaxWordBytes) {
    return;
  }
  if (used_ == kMaxUsed) {
    entries_.assign(kSlots, Entry());
    text_.clear();
    ids_.clear();
    used_ = 0;
  }
  const uint64_t hash = Hash(word);
  Entry& entry = entries_[Slot(word, hash)];
  if (entry.text_size != 0) {
    return;
  }
  entry = {hash, static_cast<uint32_t>(text_.size()),
           static_cast<uint32_t>(word.size()),
           static_cast<uint32_t>(ids_.size()), static_cast<uint32_t>(count)};
  text_.append(word);
  ids_.insert(ids_.end(), ids, ids + count);
  ++used_;
}

}  // namespace tributary::tokenizer

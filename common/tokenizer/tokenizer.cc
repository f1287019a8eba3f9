#include "common/tokenizer/tokenizer.h"

#include <algorithm>
#include <mutex>
#include <unordered_map>
#include <utility>

#include "common/base/files.h"
#include "common/base/text.h"
#include "common/tokenizer/added_tokens.h"
#include "common/tokenizer/byte_level.h"
#include "common/tokenizer/tokenizer_json.h"

namespace tributary::tokenizer {

class Tokenizer::Impl {
 public:
  explicit Impl(TokenizerParts parts)
      : parts_(std::move(parts)),
        raw_(parts_.added_tokens, AddedTokenMatcher::Phase::kRaw),
        normalized_(parts_.added_tokens,
                    AddedTokenMatcher::Phase::kNormalized) {
    for (const auto& [token, id] : parts_.bpe.vocabulary()) {
      AddToken(token, id);
    }
    for (const AddedToken& token : parts_.added_tokens) {
      AddToken(token.content, token.id);
      entries_[static_cast<size_t>(token.id)].special = token.special;
      added_ids_.emplace(token.content, token.id);
    }
  }

  StatusOr<std::vector<int32_t>> Encode(std::string_view text,
                                        const EncodeOptions& options) const {
    if (const auto offset = FirstInvalidUtf8(text)) {
      return InvalidArgument("the text is not UTF-8 at byte {}", *offset);
    }
    const bool around =
        options.special_tokens == EncodeOptions::Template::kApply;
    if (around && !parts_.around.unsupported.empty()) {
      return Unimplemented("post_processor: {} is not supported",
                           parts_.around.unsupported);
    }
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 3 + 8);
    if (around) {
      ids = parts_.around.before;
    }
    const ScratchLease scratch(*this);
    for (const auto& piece : raw_.Split(text, options.special_text)) {
      if (piece.id >= 0) {
        ids.push_back(piece.id);
      } else if (normalized_.empty()) {
        RETURN_IF_ERROR(EncodeText(piece.text, scratch.get(), &ids));
      } else {
        for (const auto& part :
             normalized_.Split(piece.text, options.special_text)) {
          if (part.id >= 0) {
            ids.push_back(part.id);
          } else {
            RETURN_IF_ERROR(EncodeText(part.text, scratch.get(), &ids));
          }
        }
      }
    }
    if (around) {
      ids.insert(ids.end(), parts_.around.after.begin(),
                 parts_.around.after.end());
    }
    return ids;
  }

  struct Entry {
    bool present = false;
    bool special = false;
    std::string token;
    std::string bytes;
  };

  // Null for an id that is not in the vocabulary.
  const Entry* Find(int32_t id) const {
    if (id < 0 || static_cast<size_t>(id) >= entries_.size() ||
        !entries_[static_cast<size_t>(id)].present) {
      return nullptr;
    }
    return &entries_[static_cast<size_t>(id)];
  }
  StatusOr<const Entry*> Get(int32_t id) const {
    const Entry* entry = Find(id);
    if (entry == nullptr) {
      return InvalidArgument("got id {}, wanted one of the vocabulary of {}",
                             id, entries_.size());
    }
    return entry;
  }
  std::optional<int32_t> IdOf(std::string_view token) const {
    const std::string key(token);
    if (const auto found = added_ids_.find(key); found != added_ids_.end()) {
      return found->second;
    }
    const auto found = parts_.bpe.vocabulary().find(key);
    return found == parts_.bpe.vocabulary().end()
               ? std::nullopt
               : std::optional<int32_t>(found->second);
  }
  int32_t size() const { return static_cast<int32_t>(entries_.size()); }
  const std::vector<AddedToken>& added_tokens() const {
    return parts_.added_tokens;
  }

 private:
  // Working memory for one call; threads do not wait for each other.
  class ScratchLease {
   public:
    explicit ScratchLease(const Impl& owner) : owner_(owner) {
      const std::lock_guard lock(owner_.mutex_);
      if (!owner_.idle_.empty()) {
        scratch_ = std::move(owner_.idle_.back());
        owner_.idle_.pop_back();
      } else {
        scratch_ = std::make_unique<Bpe::Scratch>();
      }
    }
    ~ScratchLease() {
      const std::lock_guard lock(owner_.mutex_);
      owner_.idle_.push_back(std::move(scratch_));
    }
    ScratchLease(const ScratchLease&) = delete;
    ScratchLease& operator=(const ScratchLease&) = delete;
    Bpe::Scratch* get() const { return scratch_.get(); }

   private:
    const Impl& owner_;
    std::unique_ptr<Bpe::Scratch> scratch_;
  };

  void AddToken(const std::string& token, int32_t id) {
    const auto index = static_cast<size_t>(id);
    if (index >= entries_.size()) {
      entries_.resize(index + 1);
    }
    // As the decoder does: a token with any other character is its own bytes.
    entries_[index] = {true, false, token,
                       ByteLevelDecode(token).value_or(token)};
  }

  Status EncodeText(std::string_view text, Bpe::Scratch* scratch,
                    std::vector<int32_t>* ids) const {
    return parts_.pre_tokenizer.Run(text, [&](std::string_view word) {
      parts_.bpe.Encode(word, scratch, ids);
    });
  }

  const TokenizerParts parts_;
  const AddedTokenMatcher raw_;
  const AddedTokenMatcher normalized_;
  std::vector<Entry> entries_;  // by id
  std::unordered_map<std::string, int32_t> added_ids_;

  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Bpe::Scratch>> idle_;  // by mutex_
};

Tokenizer::Tokenizer(std::unique_ptr<const Impl> impl)
    : impl_(std::move(impl)) {}
Tokenizer::~Tokenizer() = default;

StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::Load(
    const std::filesystem::path& path) {
  constexpr uint64_t kMaxBytes = 256ull << 20;
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxBytes));
  auto tokenizer = FromJson(text);
  if (!tokenizer.ok()) {
    return Annotate(tokenizer.status(), path.string());
  }
  return tokenizer;
}

StatusOr<std::unique_ptr<Tokenizer>> Tokenizer::FromJson(
    std::string_view text) {
  ASSIGN_OR_RETURN(TokenizerParts parts, ParseTokenizerJson(text));
  return std::unique_ptr<Tokenizer>(
      new Tokenizer(std::make_unique<const Impl>(std::move(parts))));
}

StatusOr<std::vector<int32_t>> Tokenizer::Encode(
    std::string_view text, const EncodeOptions& options) const {
  return impl_->Encode(text, options);
}

StatusOr<std::string> Tokenizer::Decode(std::span<const int32_t> ids,
                                        const DecodeOptions& options) const {
  std::string bytes;
  for (const int32_t id : ids) {
    ASSIGN_OR_RETURN(const Impl::Entry* entry, impl_->Get(id));
    if (!entry->special || options.special == DecodeOptions::Special::kKeep) {
      bytes += entry->bytes;
    }
  }
  return ReplaceInvalidUtf8(bytes);
}

StatusOr<std::string> Tokenizer::TokenBytes(int32_t id) const {
  ASSIGN_OR_RETURN(const Impl::Entry* entry, impl_->Get(id));
  return entry->bytes;
}

int32_t Tokenizer::vocab_size() const { return impl_->size(); }

std::optional<int32_t> Tokenizer::TokenToId(std::string_view token) const {
  return impl_->IdOf(token);
}

std::optional<std::string> Tokenizer::IdToToken(int32_t id) const {
  const Impl::Entry* entry = impl_->Find(id);
  return entry == nullptr ? std::nullopt
                          : std::optional<std::string>(entry->token);
}

const std::vector<AddedToken>& Tokenizer::added_tokens() const {
  return impl_->added_tokens();
}

bool Tokenizer::IsSpecial(int32_t id) const {
  const Impl::Entry* entry = impl_->Find(id);
  return entry != nullptr && entry->special;
}

}  // namespace tributary::tokenizer

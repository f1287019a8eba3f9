#include "contributor/data/windows.h"

#include <algorithm>
#include <limits>

namespace tributary::contributor {
namespace {

// A digest's first byte below this is held out: 32 of 256.
constexpr unsigned char kHeldOutBelow = 32;

bool ByDigest(const Document& a, const Document& b) {
  return a.digest < b.digest;
}

}  // namespace

StatusOr<Windows> CutWindows(std::vector<Document> documents,
                             const tokenizer::Tokenizer& tokenizer,
                             const WindowOptions& options) {
  const int64_t length = options.window_tokens;
  if (length < 2) {
    return InvalidArgument("window_tokens: got {}, wanted at least 2", length);
  }
  constexpr int64_t kAll = std::numeric_limits<int64_t>::max();
  const int64_t most = options.max_windows > 0 ? options.max_windows : kAll;
  const int64_t most_each = options.max_windows_per_document > 0
                                ? options.max_windows_per_document
                                : kAll;
  std::sort(documents.begin(), documents.end(), ByDigest);
  Windows result;
  std::vector<std::vector<int32_t>> ids;  // of documents long enough
  tokenizer::EncodeOptions encode;
  encode.special_text = tokenizer::EncodeOptions::SpecialText::kText;
  for (const Document& document : documents) {
    if (static_cast<int64_t>(ids.size()) == most) {
      break;  // one window of each is enough
    }
    ASSIGN_OR_RETURN(std::vector<int32_t> tokens,
                     tokenizer.Encode(document.text, encode));
    if (static_cast<int64_t>(tokens.size()) < length) {
      ++result.skipped;
      continue;
    }
    ids.push_back(std::move(tokens));
  }
  result.documents = static_cast<int64_t>(ids.size());
  bool more = true;
  for (int64_t round = 0; more && round < most_each; ++round) {
    more = false;
    for (const std::vector<int32_t>& tokens : ids) {
      if (static_cast<int64_t>(tokens.size()) < (round + 1) * length ||
          result.windows == most) {
        continue;
      }
      const auto begin = tokens.begin() + round * length;
      result.ids.insert(result.ids.end(), begin, begin + length);
      ++result.windows;
      more = true;
    }
  }
  return result;
}

Split SplitByDigest(std::vector<Document> documents) {
  std::sort(documents.begin(), documents.end(), ByDigest);
  size_t held_out = 0;
  while (held_out < documents.size() &&
         static_cast<unsigned char>(documents[held_out].digest[0]) <
             kHeldOutBelow) {
    ++held_out;
  }
  if (documents.size() > 1) {
    held_out = std::clamp<size_t>(held_out, 1, documents.size() - 1);
  }
  Split split;
  const auto middle = std::make_move_iterator(documents.begin() + held_out);
  split.heldout.assign(std::make_move_iterator(documents.begin()), middle);
  split.train.assign(middle, std::make_move_iterator(documents.end()));
  return split;
}

}  // namespace tributary::contributor

#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/tokenizer/bpe.h"
#include "common/tokenizer/pre_tokenizer.h"
#include "common/tokenizer/tokenizer.h"

namespace tributary::tokenizer {

// What the post-processor puts around the ids of a text.
struct Template {
  std::vector<int32_t> before;
  std::vector<int32_t> after;
  std::string unsupported;  // the post-processor's type when it is not known
};

// The parts of a tokenizer.json.
struct TokenizerParts {
  Bpe bpe;
  PreTokenizer pre_tokenizer;
  std::vector<AddedToken> added_tokens;  // by ascending id
  Template around;
};

// Truncation and padding are the caller's business and are ignored; everything
// else is either understood or refused: UNIMPLEMENTED names the component.
StatusOr<TokenizerParts> ParseTokenizerJson(std::string_view text);

}  // namespace tributary::tokenizer

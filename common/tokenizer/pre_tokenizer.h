#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/tokenizer/regex.h"
#include "common/tokenizer/word_scanner.h"
#include "nlohmann/json.hpp"

namespace tributary::tokenizer {

// Cuts text into the words that BPE works on.
class PreTokenizer {
 public:
  // From the "pre_tokenizer" of a tokenizer.json: ByteLevel, or a Sequence of
  // Digits and Split that ends in ByteLevel. UNIMPLEMENTED naming a component
  // that is not supported.
  static StatusOr<PreTokenizer> FromJson(const nlohmann::json& config);

  // Calls `sink` with each word in order. Words are views into `text` or, where
  // a space is put in front, into a string that lives for the call.
  Status Run(std::string_view text,
             const std::function<void(std::string_view)>& sink) const {
    return RunStep(0, text, sink);
  }

 private:
  // What becomes of the matches of a pattern.
  enum class Behavior {
    kIsolated,
    kRemoved,
    kContiguous,
    kMergedWithPrevious,
    kMergedWithNext
  };
  struct Step {
    enum class Kind {
      kEachDigit,
      kDigitRuns,
      kWords,        // a pattern of word_scanner.h, all matches isolated
      kRegex,        // any other pattern
      kPrefixSpace,  // a space in front, unless there is one
    } kind = Kind::kWords;
    WordPattern words = WordPattern::kGpt2;
    std::shared_ptr<const Regex> regex;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
  };
  using Sink = std::function<void(std::string_view)>;

  Status AddComponent(const nlohmann::json& component);
  Status AddSplit(const nlohmann::json& component);
  Status RunStep(size_t step, std::string_view text, const Sink& sink) const;
  Status RunDigits(size_t step, std::string_view text, const Sink& sink) const;
  Status RunRegex(size_t step, std::string_view text, const Sink& sink) const;

  std::vector<Step> steps_;
  bool ends_in_byte_level_ = false;
};

}  // namespace tributary::tokenizer

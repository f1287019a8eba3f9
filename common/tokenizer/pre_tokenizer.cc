#include "common/tokenizer/pre_tokenizer.h"

#include <array>
#include <utility>

#include "common/tokenizer/unicode_class.h"

namespace tributary::tokenizer {
namespace {

using nlohmann::json;

std::string TypeOf(const json& component) {
  return component.is_object() && component.contains("type") &&
                 component["type"].is_string()
             ? component["type"].get<std::string>()
             : "";
}

StatusOr<bool> Flag(const json& component, const char* key, bool otherwise) {
  const auto found = component.find(key);
  if (found == component.end()) {
    return otherwise;
  }
  if (!found->is_boolean()) {
    return InvalidArgument("pre_tokenizer: {} of {} is not true or false", key,
                           TypeOf(component));
  }
  return found->get<bool>();
}

// A pattern that matches `text` alone.
std::string Escape(const std::string& text) {
  std::string pattern;
  for (const char c : text) {
    if (std::string_view("\\^$.[]|()?*+{}#- \t\n\r").find(c) !=
        std::string_view::npos) {
      pattern.push_back('\\');
    }
    pattern.push_back(c);
  }
  return pattern;
}

}  // namespace

StatusOr<PreTokenizer> PreTokenizer::FromJson(const json& config) {
  PreTokenizer result;
  RETURN_IF_ERROR(result.AddComponent(config));
  if (!result.ends_in_byte_level_) {
    return Unimplemented(
        "pre_tokenizer: got {}, but only byte-level tokenizers are supported: "
        "wanted ByteLevel, or a Sequence that ends in ByteLevel",
        config.is_null() ? "none" : TypeOf(config));
  }
  return result;
}

Status PreTokenizer::AddComponent(const json& component) {
  const std::string type = TypeOf(component);
  if (type.empty()) {
    return absl::OkStatus();  // FromJson tells that ByteLevel is missing
  }
  if (ends_in_byte_level_) {
    return Unimplemented("pre_tokenizer: {} behind ByteLevel is not supported",
                         type);
  }
  if (type == "Sequence") {
    const auto list = component.find("pretokenizers");
    if (list == component.end() || !list->is_array()) {
      return InvalidArgument("pre_tokenizer: Sequence without pretokenizers");
    }
    for (const json& each : *list) {
      RETURN_IF_ERROR(AddComponent(each));
    }
    return absl::OkStatus();
  }
  if (type == "Digits") {
    ASSIGN_OR_RETURN(const bool each,
                     Flag(component, "individual_digits", false));
    steps_.push_back(
        {.kind = each ? Step::Kind::kEachDigit : Step::Kind::kDigitRuns});
    return absl::OkStatus();
  }
  if (type == "Split") {
    return AddSplit(component);
  }
  if (type == "ByteLevel") {
    ends_in_byte_level_ = true;
    ASSIGN_OR_RETURN(const bool prefix,
                     Flag(component, "add_prefix_space", true));
    ASSIGN_OR_RETURN(const bool regex, Flag(component, "use_regex", true));
    if (prefix) {
      steps_.push_back({.kind = Step::Kind::kPrefixSpace});
    }
    if (regex) {
      steps_.push_back({.kind = Step::Kind::kWords});
    }
    return absl::OkStatus();
  }
  return Unimplemented(
      "pre_tokenizer: got {}, but only Digits, Split, ByteLevel and Sequence "
      "are supported",
      type);
}

Status PreTokenizer::AddSplit(const json& component) {
  constexpr std::array<std::pair<std::string_view, Behavior>, 5> kBehaviors = {{
      {"Isolated", Behavior::kIsolated},
      {"Removed", Behavior::kRemoved},
      {"Contiguous", Behavior::kContiguous},
      {"MergedWithPrevious", Behavior::kMergedWithPrevious},
      {"MergedWithNext", Behavior::kMergedWithNext},
  }};
  Step step = {.kind = Step::Kind::kRegex};
  ASSIGN_OR_RETURN(step.invert, Flag(component, "invert", false));
  const json behavior = component.value("behavior", json());
  bool known = false;
  for (const auto& [name, value] : kBehaviors) {
    if (behavior == name) {
      step.behavior = value;
      known = true;
    }
  }
  if (!known) {
    return Unimplemented("pre_tokenizer: Split with the behavior {}",
                         behavior.dump(-1, ' ', true));
  }
  const json pattern = component.value("pattern", json());
  std::string regex;
  if (pattern.is_object() && pattern.contains("Regex") &&
      pattern["Regex"].is_string()) {
    regex = pattern["Regex"].get<std::string>();
  } else if (pattern.is_object() && pattern.contains("String") &&
             pattern["String"].is_string()) {
    regex = Escape(pattern["String"].get<std::string>());
  } else {
    return InvalidArgument(
        "pre_tokenizer: Split without a pattern, wanted Regex or String");
  }
  // The known patterns match everything, so what these do is the same.
  const auto words = FindWordPattern(regex);
  if (words && (step.behavior == Behavior::kIsolated ||
                (step.behavior == Behavior::kRemoved && step.invert))) {
    steps_.push_back({.kind = Step::Kind::kWords, .words = *words});
    return absl::OkStatus();
  }
  auto compiled = Regex::Compile(regex);
  if (!compiled.ok()) {
    return Annotate(compiled.status(), "pre_tokenizer: Split");
  }
  step.regex = *std::move(compiled);
  steps_.push_back(std::move(step));
  return absl::OkStatus();
}

Status PreTokenizer::RunStep(size_t index, std::string_view text,
                             const Sink& sink) const {
  if (text.empty()) {
    return absl::OkStatus();
  }
  if (index == steps_.size()) {
    sink(text);
    return absl::OkStatus();
  }
  const Step& step = steps_[index];
  switch (step.kind) {
    case Step::Kind::kEachDigit:
    case Step::Kind::kDigitRuns:
      return RunDigits(index, text, sink);
    case Step::Kind::kRegex:
      return RunRegex(index, text, sink);
    case Step::Kind::kPrefixSpace:
      return text[0] == ' ' ? RunStep(index + 1, text, sink)
                            : RunStep(index + 1, " " + std::string(text), sink);
    case Step::Kind::kWords:
      break;
  }
  const bool last = index + 1 == steps_.size();
  for (size_t at = 0; at < text.size();) {
    const size_t end = WordEnd(step.words, text, at);
    const std::string_view word = text.substr(at, end - at);
    at = end;
    if (last) {
      sink(word);
    } else {
      RETURN_IF_ERROR(RunStep(index + 1, word, sink));
    }
  }
  return absl::OkStatus();
}

Status PreTokenizer::RunDigits(size_t index, std::string_view text,
                               const Sink& sink) const {
  const uint8_t* classes = CodePointClasses();
  const bool each = steps_[index].kind == Step::Kind::kEachDigit;
  size_t begin = 0;
  bool in_digits = false;
  for (size_t at = 0; at < text.size();) {
    const CodePoint point = DecodeAt(text, at);
    const bool digit = (classes[point.value] & kNumeric) != 0;
    if (at > begin && (digit != in_digits || (digit && each))) {
      RETURN_IF_ERROR(RunStep(index + 1, text.substr(begin, at - begin), sink));
      begin = at;
    }
    in_digits = digit;
    at += point.bytes;
  }
  return RunStep(index + 1, text.substr(begin), sink);
}

Status PreTokenizer::RunRegex(size_t index, std::string_view text,
                              const Sink& sink) const {
  const Step& step = steps_[index];
  struct Piece {
    size_t begin;
    size_t end;
    bool match;
  };
  std::vector<Piece> pieces;
  size_t done = 0;
  for (size_t at = 0; at <= text.size();) {
    ASSIGN_OR_RETURN(const auto match, step.regex->Find(text, at));
    if (!match) {
      break;
    }
    const auto [begin, end] = *match;
    if (begin > done) {
      pieces.push_back({done, begin, step.invert});
    }
    if (end > begin) {
      pieces.push_back({begin, end, !step.invert});
    }
    done = end;
    at = end > begin           ? end
         : begin < text.size() ? begin + DecodeAt(text, begin).bytes
                               : begin + 1;
  }
  if (done < text.size()) {
    pieces.push_back({done, text.size(), step.invert});
  }
  std::vector<Piece> kept;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    const bool after_match = i > 0 && pieces[i - 1].match;
    bool join = false;  // with the piece before
    switch (step.behavior) {
      case Behavior::kIsolated:
        break;
      case Behavior::kRemoved:
        if (piece.match) {
          continue;
        }
        break;
      case Behavior::kContiguous:
        join = i > 0 && piece.match == after_match;
        break;
      case Behavior::kMergedWithPrevious:
        join = i > 0 && piece.match && !after_match;
        break;
      case Behavior::kMergedWithNext:
        join = i > 0 && !piece.match && after_match;
        break;
    }
    if (join) {
      kept.back().end = piece.end;
    } else {
      kept.push_back(piece);
    }
  }
  for (const Piece& piece : kept) {
    RETURN_IF_ERROR(RunStep(
        index + 1, text.substr(piece.begin, piece.end - piece.begin), sink));
  }
  return absl::OkStatus();
}

}  // namespace tributary::tokenizer

#include "common/tokenizer/tokenizer_json.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "nlohmann/json.hpp"

namespace tributary::tokenizer {
namespace {

using nlohmann::json;

constexpr int64_t kMaxId = 1 << 24;

const json& Get(const json& object, const char* key) {
  static const json null;
  const auto found = object.is_object() ? object.find(key) : object.end();
  return object.is_object() && found != object.end() ? *found : null;
}

std::string Text(const json& value) {
  return value.is_string() ? value.get<std::string>()
                           : value.dump(-1, ' ', true);
}

bool Flag(const json& object, const char* key) {
  return Get(object, key) == true;
}

StatusOr<int32_t> Id(const json& value, const std::string& token) {
  if (!value.is_number_unsigned() || value > kMaxId) {
    return InvalidArgument("token \"{}\": got id {}, wanted 0 to {}", token,
                           value.dump(), kMaxId);
  }
  return value.get<int32_t>();
}

Status CheckNormalizer(const json& normalizer) {
  if (normalizer.is_null()) {
    return absl::OkStatus();
  }
  const std::string type = Text(Get(normalizer, "type"));
  const json& list = Get(normalizer, "normalizers");
  if (type == "Sequence" && list.is_array()) {
    for (const json& each : list) {
      RETURN_IF_ERROR(CheckNormalizer(each));
    }
    return absl::OkStatus();
  }
  return Unimplemented(
      "normalizer: got {}, but only none is supported; use a model whose "
      "tokenizer.json has no normalizer",
      type);
}

Status CheckDecoder(const json& decoder) {
  const std::string type = Text(Get(decoder, "type"));
  const json& list = Get(decoder, "decoders");
  if (type == "Sequence" && list.is_array() && list.size() == 1) {
    return CheckDecoder(list[0]);
  }
  if (type != "ByteLevel") {
    return Unimplemented("decoder: got {}, but only ByteLevel is supported",
                         type);
  }
  return absl::OkStatus();
}

StatusOr<std::vector<std::pair<std::string, std::string>>> ParseMerges(
    const json& merges) {
  std::vector<std::pair<std::string, std::string>> result;
  if (!merges.is_array()) {
    return InvalidArgument("model: merges are not a list");
  }
  result.reserve(merges.size());
  for (const json& merge : merges) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
        merge[1].is_string()) {
      result.emplace_back(merge[0].get<std::string>(),
                          merge[1].get<std::string>());
      continue;
    }
    // The older form: "left right".
    const std::string both = merge.is_string() ? merge.get<std::string>() : "";
    const size_t space = both.find(' ');
    if (space == std::string::npos ||
        both.find(' ', space + 1) != std::string::npos) {
      return InvalidArgument("model: merge {}: got {}, wanted two tokens",
                             result.size(), merge.dump(-1, ' ', true));
    }
    result.emplace_back(both.substr(0, space), both.substr(space + 1));
  }
  return result;
}

StatusOr<Bpe> ParseModel(const json& model) {
  const std::string type = Text(Get(model, "type"));
  // Old files leave the type out; their merges tell.
  if (type != "BPE" &&
      !(Get(model, "type").is_null() && Get(model, "merges").is_array())) {
    return Unimplemented("model: got {}, but only BPE is supported", type);
  }
  const json& dropout = Get(model, "dropout");
  if (!dropout.is_null() && dropout != 0.0) {
    return Unimplemented("model: dropout {} is not supported", dropout.dump());
  }
  for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    const json& value = Get(model, key);
    if (!value.is_null() && value != "") {
      return Unimplemented("model: {} {} is not supported", key,
                           value.dump(-1, ' ', true));
    }
  }
  if (Flag(model, "byte_fallback")) {
    return Unimplemented(
        "model: byte_fallback is not supported; wanted a byte-level "
        "vocabulary, which has a token for every byte");
  }
  Bpe::Options options;
  const json& vocabulary = Get(model, "vocab");
  if (!vocabulary.is_object() || vocabulary.empty()) {
    return InvalidArgument("model: vocab is not an object of tokens");
  }
  std::unordered_set<int32_t> ids;
  for (const auto& [token, value] : vocabulary.items()) {
    ASSIGN_OR_RETURN(const int32_t id, Id(value, token));
    if (!ids.insert(id).second) {
      return InvalidArgument("model: id {} belongs to two tokens, one is {}",
                             id, token);
    }
    options.vocabulary.emplace(token, id);
  }
  ASSIGN_OR_RETURN(options.merges, ParseMerges(Get(model, "merges")));
  if (const json& unknown = Get(model, "unk_token"); unknown.is_string()) {
    options.unknown_token = unknown.get<std::string>();
  }
  if (Flag(model, "fuse_unk")) {
    options.unknown = Bpe::Options::Unknown::kFuse;
  }
  if (Flag(model, "ignore_merges")) {
    options.whole_words = Bpe::Options::WholeWords::kLookUp;
  }
  auto bpe = Bpe::Create(std::move(options));
  if (!bpe.ok()) {
    return Annotate(bpe.status(), "model");
  }
  return bpe;
}

StatusOr<std::vector<AddedToken>> ParseAddedTokens(const json& list,
                                                   const Bpe& bpe) {
  std::vector<AddedToken> tokens;
  if (list.is_null()) {
    return tokens;
  }
  if (!list.is_array()) {
    return InvalidArgument("added_tokens is not a list");
  }
  std::unordered_set<int32_t> vocabulary_ids;
  for (const auto& [token, id] : bpe.vocabulary()) {
    vocabulary_ids.insert(id);
  }
  std::unordered_set<std::string> seen;
  for (const json& each : list) {
    AddedToken token;
    if (!Get(each, "content").is_string()) {
      return InvalidArgument("added_tokens: a token has no content");
    }
    token.content = Get(each, "content").get<std::string>();
    ASSIGN_OR_RETURN(token.id, Id(Get(each, "id"), token.content));
    token.special = Flag(each, "special");
    token.single_word = Flag(each, "single_word");
    token.lstrip = Flag(each, "lstrip");
    token.rstrip = Flag(each, "rstrip");
    token.normalized = Flag(each, "normalized");
    if (!seen.insert(token.content).second) {
      return InvalidArgument("added_tokens: \"{}\" occurs twice",
                             token.content);
    }
    const auto found = bpe.vocabulary().find(token.content);
    const bool known = found != bpe.vocabulary().end();
    if (known ? found->second != token.id
              : !vocabulary_ids.insert(token.id).second) {
      return InvalidArgument(
          "added_tokens: \"{}\" has the id {}, which disagrees with the "
          "vocabulary or another added token",
          token.content, token.id);
    }
    tokens.push_back(std::move(token));
  }
  std::sort(
      tokens.begin(), tokens.end(),
      [](const AddedToken& a, const AddedToken& b) { return a.id < b.id; });
  return tokens;
}

// {"SpecialToken": {"id": name}} or {"Sequence": ...}, with the ids of names.
Status ParseTemplate(const json& processor, Template* around) {
  bool behind = false;
  for (const json& item : Get(processor, "single")) {
    if (item.contains("Sequence")) {
      behind = true;
      continue;
    }
    const std::string name = Text(Get(Get(item, "SpecialToken"), "id"));
    const json& token = Get(Get(processor, "special_tokens"), name.c_str());
    if (!Get(token, "ids").is_array()) {
      return InvalidArgument(
          "post_processor: \"{}\" is not among its special_tokens", name);
    }
    for (const json& value : Get(token, "ids")) {
      ASSIGN_OR_RETURN(const int32_t id, Id(value, name));
      (behind ? around->after : around->before).push_back(id);
    }
  }
  return absl::OkStatus();
}

Status ParsePostProcessor(const json& processor, Template* around) {
  if (processor.is_null()) {
    return absl::OkStatus();
  }
  const std::string type = Text(Get(processor, "type"));
  const json& list = Get(processor, "processors");
  if (type == "Sequence" && list.is_array()) {
    for (const json& each : list) {
      RETURN_IF_ERROR(ParsePostProcessor(each, around));
    }
  } else if (type == "TemplateProcessing" &&
             Get(processor, "single").is_array()) {
    return ParseTemplate(processor, around);
  } else if (type != "ByteLevel") {  // which changes offsets only
    around->unsupported = type;
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<TokenizerParts> ParseTokenizerJson(std::string_view text) {
  const json document = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!document.is_object() || !document.contains("model")) {
    return InvalidArgument(
        "is not a tokenizer: wanted a JSON object with the "
        "key \"model\"");
  }
  RETURN_IF_ERROR(CheckNormalizer(Get(document, "normalizer")));
  RETURN_IF_ERROR(CheckDecoder(Get(document, "decoder")));
  ASSIGN_OR_RETURN(PreTokenizer pre_tokenizer,
                   PreTokenizer::FromJson(Get(document, "pre_tokenizer")));
  ASSIGN_OR_RETURN(Bpe bpe, ParseModel(Get(document, "model")));
  ASSIGN_OR_RETURN(std::vector<AddedToken> added,
                   ParseAddedTokens(Get(document, "added_tokens"), bpe));
  Template around;
  RETURN_IF_ERROR(ParsePostProcessor(Get(document, "post_processor"), &around));
  return TokenizerParts{std::move(bpe), std::move(pre_tokenizer),
                        std::move(added), std::move(around)};
}

}  // namespace tributary::tokenizer

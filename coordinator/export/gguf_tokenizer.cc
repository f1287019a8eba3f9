#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/tokenizer/tokenizer.h"
#include "coordinator/export/gguf_layout.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using tokenizer::Tokenizer;

// llama.cpp's token types.
enum TokenType : int32_t {
  kNormal = 1,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
};

constexpr JsonLimits kLimits = {.max_bytes = 256u << 20, .max_depth = 64};

// The pattern that Llama 3 splits text with.
constexpr char kLlama3Pattern[] =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| )"
    R"(?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::string Field(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>()
                                                     : std::string();
}

bool Flag(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

// The name that llama.cpp has for a pre-tokenizer.
StatusOr<std::string> PreTokenizerName(const Json& file) {
  const auto pre = file.find("pre_tokenizer");
  if (pre != file.end() && pre->is_object()) {
    std::vector<Json> steps = {*pre};
    if (Field(*pre, "type") == "Sequence" && pre->contains("pretokenizers")) {
      steps = (*pre)["pretokenizers"].get<std::vector<Json>>();
    }
    const auto is = [&](size_t i, const char* type) {
      return i < steps.size() && Field(steps[i], "type") == type;
    };
    if (steps.size() == 1 && is(0, "ByteLevel") &&
        Flag(steps[0], "use_regex")) {
      return std::string("gpt-2");
    }
    if (steps.size() == 2 && is(0, "Digits") && is(1, "ByteLevel") &&
        Flag(steps[0], "individual_digits") && Flag(steps[1], "use_regex")) {
      return std::string("smollm");
    }
    if (steps.size() == 2 && is(0, "Split") && is(1, "ByteLevel") &&
        steps[0].contains("pattern") &&
        Field(steps[0]["pattern"], "Regex") == kLlama3Pattern) {
      return std::string("llama-bpe");
    }
  }
  return Unimplemented(
      "the tokenizer splits text in a way that has no name in GGUF files "
      "(gpt-2, smollm and llama-bpe are known); export to Hugging Face "
      "instead");
}

std::vector<std::string> Merges(const Json& file) {
  std::vector<std::string> merges;
  for (const Json& merge : file["model"]["merges"]) {
    if (merge.is_string()) {
      merges.push_back(merge.get<std::string>());
    } else if (merge.is_array() && merge.size() == 2) {
      merges.push_back(merge[0].get<std::string>() + " " +
                       merge[1].get<std::string>());
    }
  }
  return merges;
}

void AddTokens(const Tokenizer& tokenizer, int64_t vocab_size,
               gguf::Metadata* entries) {
  std::vector<std::string> tokens;
  std::vector<int32_t> types;
  for (int64_t id = 0; id < vocab_size; ++id) {
    const auto token = tokenizer.IdToToken(static_cast<int32_t>(id));
    tokens.push_back(token.value_or(fmt::format("[PAD{}]", id)));
    types.push_back(token ? kNormal : kUnused);
  }
  for (const tokenizer::AddedToken& added : tokenizer.added_tokens()) {
    if (added.id < vocab_size) {
      types[static_cast<size_t>(added.id)] =
          added.special ? kControl : kUserDefined;
    }
  }
  entries->emplace_back("tokenizer.ggml.tokens", std::move(tokens));
  entries->emplace_back("tokenizer.ggml.token_type", std::move(types));
}

std::string ChatTemplate(const fs::path& folder) {
  const StatusOr<std::string> own = ReadFile(folder / "chat_template.jinja");
  if (own.ok()) {
    return *own;
  }
  const StatusOr<std::string> text = ReadFile(folder / "tokenizer_config.json");
  const StatusOr<Json> config =
      text.ok() ? ParseJson(*text, kLimits) : text.status();
  return config.ok() && config->is_object() ? Field(*config, "chat_template")
                                            : "";
}

}  // namespace

StatusOr<gguf::Metadata> TokenizerMetadata(
    const fs::path& folder, const model_format::ModelConfig& config) {
  const fs::path path = folder / "tokenizer.json";
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  // Everything that is used below was checked by the tokenizer.
  ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::FromJson(text));
  ASSIGN_OR_RETURN(const Json file, ParseJson(text, kLimits));
  ASSIGN_OR_RETURN(const std::string pre, PreTokenizerName(file));
  if (tokenizer->vocab_size() > config.vocab_size) {
    return InvalidArgument("{}: has {} tokens, the model {}", path.string(),
                           tokenizer->vocab_size(), config.vocab_size);
  }
  gguf::Metadata entries = {{"tokenizer.ggml.model", std::string("gpt2")},
                            {"tokenizer.ggml.pre", pre}};
  AddTokens(*tokenizer, config.vocab_size, &entries);
  entries.emplace_back("tokenizer.ggml.merges", Merges(file));
  const auto add_id = [&](const char* key, std::optional<int64_t> id) {
    if (id) {
      entries.emplace_back(key, static_cast<uint32_t>(*id));
    }
  };
  add_id("tokenizer.ggml.bos_token_id", config.bos_token_id);
  add_id("tokenizer.ggml.padding_token_id", config.pad_token_id);
  if (!config.eos_token_ids.empty()) {
    add_id("tokenizer.ggml.eos_token_id", config.eos_token_ids.front());
  }
  ASSIGN_OR_RETURN(
      const std::vector<int32_t> around,
      tokenizer->Encode(
          "", {.special_tokens = tokenizer::EncodeOptions::Template::kApply}));
  entries.emplace_back("tokenizer.ggml.add_bos_token",
                       !around.empty() && config.bos_token_id &&
                           around.front() == *config.bos_token_id);
  if (const std::string chat = ChatTemplate(folder); !chat.empty()) {
    entries.emplace_back("tokenizer.chat_template", chat);
  }
  return entries;
}

}  // namespace tributary::coordinator

#include "coordinator/inference/chat_template.h"

#include <algorithm>

#include "common/base/files.h"
#include "common/base/json.h"
#include "coordinator/inference/template_value.h"

namespace tributary::coordinator {
namespace {

constexpr uint64_t kMaxConfigBytes = 16u << 20;
constexpr uint64_t kMaxTemplateBytes = 64u << 10;
constexpr size_t kMaxOutputBytes = 16u << 20;
constexpr int64_t kMaxStatements = 1'000'000;

using Scope = TemplateScope;

// Runs statements on one set of messages.
class Renderer {
 public:
  Status Run(const std::vector<TemplateStatement>& statements, Scope& scope) {
    using Kind = TemplateStatement::Kind;
    for (const TemplateStatement& statement : statements) {
      if (++statements_run_ > kMaxStatements ||
          output_.size() > kMaxOutputBytes) {
        return InvalidArgument("chat template: it makes more than {} bytes",
                               kMaxOutputBytes);
      }
      if (statement.kind == Kind::kText) {
        output_ += statement.text;
        continue;
      }
      ASSIGN_OR_RETURN(TemplateValue value,
                       Evaluate(statement.expression, scope));
      if (statement.kind == Kind::kOutput) {
        ASSIGN_OR_RETURN(const std::string text, Shown(value));
        output_ += text;
      } else if (statement.kind == Kind::kSet) {
        scope[statement.text] = std::move(value);
      } else if (statement.kind == Kind::kIf) {
        RETURN_IF_ERROR(
            Run(IsTrue(value) ? statement.body : statement.otherwise, scope));
      } else {
        RETURN_IF_ERROR(Loop(statement, value, scope));
      }
    }
    return absl::OkStatus();
  }

  std::string TakeOutput() { return std::move(output_); }

 private:
  Status Loop(const TemplateStatement& statement, const TemplateValue& list,
              const Scope& scope) {
    if (!list || !list->is_array()) {
      return InvalidArgument("chat template: a loop over what is no list");
    }
    const auto size = static_cast<int64_t>(list->size());
    for (int64_t i = 0; i < size; ++i) {
      Scope inner = scope;  // what is set inside does not outlive the turn
      inner[statement.text] = (*list)[static_cast<size_t>(i)];
      inner["loop"] = Json{{"index", i + 1},           {"index0", i},
                           {"first", i == 0},          {"last", i + 1 == size},
                           {"length", size},           {"revindex", size - i},
                           {"revindex0", size - i - 1}};
      RETURN_IF_ERROR(Run(statement.body, inner));
    }
    return absl::OkStatus();
  }

  std::string output_;
  int64_t statements_run_ = 0;
};

// The text of a special token: as such, or as the content of an object.
std::string TokenText(const Json& config, const char* name) {
  const auto found = config.find(name);
  if (found == config.end()) {
    return "";
  }
  const Json& token = found->is_object() && found->contains("content")
                          ? (*found)["content"]
                          : *found;
  return token.is_string() ? token.get<std::string>() : "";
}

// tokenizer_config.json's template: a text, or a list of named ones.
StatusOr<std::string> ConfiguredTemplate(const Json& config) {
  const auto found = config.find("chat_template");
  if (found != config.end() && found->is_string()) {
    return found->get<std::string>();
  }
  if (found != config.end() && found->is_array()) {
    for (const Json& entry : *found) {
      if (entry.is_object() && entry.value("name", Json()) == "default" &&
          entry.contains("template") && entry["template"].is_string()) {
        return entry["template"].get<std::string>();
      }
    }
  }
  return NotFound("this model's tokenizer has no chat template");
}

}  // namespace

StatusOr<ChatTemplate> ChatTemplate::Load(const std::filesystem::path& folder) {
  Json config = Json::object();
  if (const StatusOr<std::string> text =
          ReadFile(folder / "tokenizer_config.json", kMaxConfigBytes);
      text.ok()) {
    ASSIGN_OR_RETURN(config, ParseJson(*text));
  }
  if (!config.is_object()) {
    return InvalidArgument("tokenizer_config.json is no object");
  }
  StatusOr<std::string> source =
      ReadFile(folder / "chat_template.jinja", kMaxTemplateBytes);
  if (absl::IsNotFound(source.status())) {
    source = ConfiguredTemplate(config);
  }
  RETURN_IF_ERROR(source.status());
  std::map<std::string, std::string> variables;
  for (const char* name :
       {"bos_token", "eos_token", "pad_token", "unk_token"}) {
    variables[name] = TokenText(config, name);
  }
  return Parse(*source, std::move(variables));
}

StatusOr<ChatTemplate> ChatTemplate::Parse(
    std::string_view source, std::map<std::string, std::string> variables) {
  if (source.size() > kMaxTemplateBytes) {
    return InvalidArgument("chat template: got {} bytes, wanted at most {}",
                           source.size(), kMaxTemplateBytes);
  }
  ASSIGN_OR_RETURN(std::vector<TemplateStatement> statements,
                   ParseTemplate(source));
  return ChatTemplate(std::move(statements), std::move(variables));
}

StatusOr<std::string> ChatTemplate::Render(
    const std::vector<ChatMessage>& messages) const {
  Scope scope;
  for (const auto& [name, value] : variables_) {
    scope[name] = value;
  }
  Json list = Json::array();
  for (const ChatMessage& message : messages) {
    list.push_back({{"role", message.role}, {"content", message.content}});
  }
  scope["messages"] = std::move(list);
  scope["add_generation_prompt"] = true;
  Renderer renderer;
  RETURN_IF_ERROR(renderer.Run(statements_, scope));
  return renderer.TakeOutput();
}

}  // namespace tributary::coordinator

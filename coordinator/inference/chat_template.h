#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "coordinator/inference/template_parser.h"

namespace tributary::coordinator {

struct ChatMessage {
  std::string role;
  std::string content;
};

// How a model wants a chat written as one text.
class ChatTemplate {
 public:
  // From chat_template.jinja or the chat_template of tokenizer_config.json in a
  // model's folder. NOT_FOUND when it has none, UNIMPLEMENTED when the template
  // uses more of Jinja than ParseTemplate reads.
  static StatusOr<ChatTemplate> Load(const std::filesystem::path& folder);
  // `variables` are what the template may name beside messages and
  // add_generation_prompt, such as bos_token.
  static StatusOr<ChatTemplate> Parse(
      std::string_view source, std::map<std::string, std::string> variables);

  // The text, with the beginning of the assistant's answer. INVALID_ARGUMENT
  // with the template's own words when it refuses the messages, or when they
  // need what it does not have.
  StatusOr<std::string> Render(const std::vector<ChatMessage>& messages) const;

 private:
  ChatTemplate(std::vector<TemplateStatement> statements,
               std::map<std::string, std::string> variables)
      : statements_(std::move(statements)), variables_(std::move(variables)) {}

  std::vector<TemplateStatement> statements_;
  std::map<std::string, std::string> variables_;
};

}  // namespace tributary::coordinator

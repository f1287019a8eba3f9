#include "coordinator/inference/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "common/base/files.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;

// In the manner of ChatML, with a default system message.
constexpr char kMarked[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != "
    "'system' %}{{ '<|im_start|>system\\nBe kind<|im_end|>\\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + "
    "'<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\\n' }}{% endif %}";

std::string Render(const char* source,
                   const std::vector<ChatMessage>& messages) {
  const auto chat = ChatTemplate::Parse(
      source, {{"bos_token", "<s>"}, {"eos_token", "</s>"}});
  if (!chat.ok()) {
    return "parse: " + std::string(chat.status().message());
  }
  const auto text = chat->Render(messages);
  return text.ok() ? *text : "render: " + std::string(text.status().message());
}

TEST(ChatTemplateTest, MarkedTurns) {
  EXPECT_EQ(Render(kMarked, {{"user", "Hi"}}),
            "<|im_start|>system\nBe kind<|im_end|>\n"
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(Render(kMarked, {{"system", "S"}, {"user", "Hi"}}),
            "<|im_start|>system\nS<|im_end|>\n"
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplateTest, BranchesAndLoopFacts) {
  constexpr char kTemplate[] =
      "{{ bos_token }}{% for m in messages %}\n"
      "{% if m.role == 'system' %}S:{{ m.content | trim }}\n"
      "{% elif m['role'] == 'user' %}U{{ loop.index0 }}:{{ m.content }}\n"
      "{% else %}A:{{ m.content }}"
      "{% if not loop.last %}{{ eos_token }}{% endif %}{% endif %}"
      "{% endfor %}";
  EXPECT_EQ(Render(kTemplate, {{"system", " a "},
                               {"user", "b"},
                               {"assistant", "c"},
                               {"assistant", "d"}}),
            "<s>S:a\nU1:b\nA:c</s>A:d");
}

TEST(ChatTemplateTest, AssignmentSlicesTestsAndConditions) {
  constexpr char kTemplate[] =
      "{%- if messages[0]['role'] == 'system' -%}\n"
      "{%- set rest = messages[1:] -%}{%- set sys = messages[0].content -%}\n"
      "{%- else -%}{%- set rest = messages -%}{%- endif -%}\n"
      "{{ sys ~ '|' if sys is defined else 'none|' }}"
      "{%- for m in rest -%}{# turn #}"
      "{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}"
      "{{ raise_exception('roles must alternate') }}{%- endif -%}"
      "{{ m.role[0:] if false else m.role | upper }}:{{ m.content.strip() }};"
      "{%- endfor -%}";
  EXPECT_EQ(Render(kTemplate, {{"system", "x"}, {"user", " a "}}), "x|USER:a;");
  EXPECT_EQ(Render(kTemplate, {{"user", "a"}}), "none|USER:a;");
  EXPECT_THAT(Render(kTemplate, {{"user", "a"}, {"user", "b"}}),
              HasSubstr("roles must alternate"));
}

TEST(ChatTemplateTest, WhatIsNotReadIsRefusedByName) {
  for (const auto& [source, name] :
       std::vector<std::pair<const char*, const char*>>{
           {"{{ messages | tojson }}", "tojson"},
           {"{% macro x() %}{% endmacro %}", "macro"},
           {"{{ strftime_now('%Y') }}", "strftime_now"},
           {"{% set ns = namespace(x=1) %}", "namespace"},
           {"{% for a, b in messages %}{% endfor %}", "for"},
           {"{{ messages is iterable }}", "iterable"},
           {"{{ x.split(',') }}", "split"},
           {"{{ [1, 2] }}", "["},
           {"{{ 'a' * 3 }}", "*"}}) {
    const auto parsed = ChatTemplate::Parse(source, {});
    EXPECT_TRUE(absl::IsUnimplemented(parsed.status())) << source;
    EXPECT_THAT(std::string(parsed.status().message()), HasSubstr(name));
  }
}

TEST(ChatTemplateTest, BrokenOnesAreErrors) {
  for (const char* source :
       {"{% if true %}", "{{ 'a }}", "{{ ", "{% for x in messages %}",
        "{% endif %}", "{{ a b }}", "{{ (((((a) }}", "{{}}", "{%%}"}) {
    EXPECT_FALSE(ChatTemplate::Parse(source, {}).ok()) << source;
  }
  const std::string deep =
      "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}";
  EXPECT_FALSE(ChatTemplate::Parse(deep, {}).ok());
}

TEST(ChatTemplateTest, ValuesOfAnotherKindAreErrors) {
  for (const char* source :
       {"{{ messages + 'a' }}", "{{ messages }}", "{{ missing.role }}",
        "{% for m in 'text' %}{% endfor %}", "{{ 1 % 0 }}", "{{ 'a' < 1 }}"}) {
    EXPECT_THAT(Render(source, {{"user", "a"}}), HasSubstr("render: "))
        << source;
  }
}

TEST(ChatTemplateTest, LoadedFromTheTokenizersConfiguration) {
  const auto folder = TemporaryDirectory::Create("chat-template");
  ASSERT_TRUE(folder.ok());
  EXPECT_TRUE(absl::IsNotFound(ChatTemplate::Load(folder->path()).status()));
  std::ofstream(folder->path() / "tokenizer_config.json")
      << R"({"bos_token": {"content": "<b>"}, "chat_template":
            "{{ bos_token }}{{ messages[0].content }}"})";
  auto chat = ChatTemplate::Load(folder->path());
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(*chat->Render({{"user", "x"}}), "<b>x");
  std::ofstream(folder->path() / "chat_template.jinja")
      << "{{ messages[-1].content }}!";
  chat = ChatTemplate::Load(folder->path());
  ASSERT_TRUE(chat.ok()) << chat.status();
  EXPECT_EQ(*chat->Render({{"user", "x"}, {"user", "y"}}), "y!");
}

}  // namespace
}  // namespace tributary::coordinator

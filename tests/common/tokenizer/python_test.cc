// The same ids and texts as the tokenizers package, for every kind of
// byte-level tokenizer: make_cases.py trains them and writes the cases.

#include <cstdlib>
#include <filesystem>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "common/base/files.h"
#include "common/tokenizer/tokenizer.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace tributary::tokenizer {
namespace {

using nlohmann::json;
using Ids = std::vector<int32_t>;

struct Case {
  std::string name;
  json values;
};

class PythonTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    auto folder = TemporaryDirectory::Create("tokenizers");
    ASSERT_TRUE(folder.ok());
    folder_ = new TemporaryDirectory(*std::move(folder));
    const std::string command =
        std::string(TRIBUTARY_PYTHON) + " " + TRIBUTARY_SOURCE_DIR +
        "/tests/common/tokenizer/make_cases.py " + folder_->path().string();
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static std::vector<std::string> Names() {
    std::vector<std::string> names;
    for (const auto& entry :
         std::filesystem::directory_iterator(folder_->path())) {
      if (entry.path().extension() == ".json") {
        names.push_back(entry.path().stem());
      }
    }
    return names;
  }
  static std::unique_ptr<Tokenizer> Load(const std::string& name) {
    auto tokenizer = Tokenizer::Load(folder_->path() / (name + ".json"));
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return tokenizer.ok() ? *std::move(tokenizer) : nullptr;
  }
  static std::vector<json> Cases(const std::string& name) {
    std::istringstream lines(*ReadFile(folder_->path() / (name + ".jsonl")));
    std::vector<json> cases;
    for (std::string line; std::getline(lines, line);) {
      cases.push_back(json::parse(line));
    }
    return cases;
  }

  static inline TemporaryDirectory* folder_ = nullptr;
};

TEST_F(PythonTest, SameIdsAndTexts) {
  const std::vector<std::string> names = Names();
  EXPECT_EQ(names.size(), 19u);
  for (const std::string& name : names) {
    const auto tokenizer = Load(name);
    ASSERT_NE(tokenizer, nullptr);
    const std::vector<json> cases = Cases(name);
    EXPECT_GT(cases.size(), 400u);
    for (const json& c : cases) {
      const std::string text = c["text"];
      const std::string what = name + ": " + c["text"].dump().substr(0, 300);
      EXPECT_EQ(*tokenizer->Encode(text), c["ids"].get<Ids>()) << what;
      EXPECT_EQ(*tokenizer->Encode(
                    text, {.special_text = EncodeOptions::SpecialText::kText}),
                c["as_text"].get<Ids>())
          << what;
      EXPECT_EQ(*tokenizer->Encode(
                    text, {.special_tokens = EncodeOptions::Template::kApply}),
                c["around"].get<Ids>())
          << what;
      EXPECT_EQ(*tokenizer->Decode(c["ids"].get<Ids>()),
                c["decoded"].get<std::string>())
          << what;
      EXPECT_EQ(*tokenizer->Decode(c["ids"].get<Ids>(),
                                   {.special = DecodeOptions::Special::kSkip}),
                c["skipped"].get<std::string>())
          << what;
      EXPECT_EQ(*tokenizer->Decode(c["part"].get<Ids>()),
                c["part_decoded"].get<std::string>())
          << what;
    }
  }
}

TEST_F(PythonTest, ThreadsShareATokenizer) {
  const auto tokenizer = Load("smollm");
  ASSERT_NE(tokenizer, nullptr);
  const std::vector<json> cases = Cases("smollm");
  std::vector<int> wrong(4, 0);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (const json& c : cases) {
        const auto ids = tokenizer->Encode(c["text"].get<std::string>());
        wrong[t] += ids.ok() && *ids == c["ids"].get<Ids>() ? 0 : 1;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(wrong, std::vector<int>(4, 0));
}

}  // namespace
}  // namespace tributary::tokenizer

#include "common/config/text_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "common/base/files.h"
#include "tributary/config/coordinator.pb.h"

namespace tributary::config {
namespace {

using ::testing::HasSubstr;

class TextConfigTest : public ::testing::Test {
 protected:
  TextConfigTest() : folder_(*TemporaryDirectory::Create("config-test")) {}

  Status Load(const std::string& text) {
    const auto path = folder_.path() / "coordinator.textproto";
    std::ofstream(path) << text;
    return LoadTextConfig(path, &config_);
  }

  TemporaryDirectory folder_;
  CoordinatorConfig config_;
};

TEST_F(TextConfigTest, ReadsFieldsAndComments) {
  ASSERT_TRUE(Load("# a comment\nfederation: \"f\"\n"
                   "experts { first_layer: 20 }\n")
                  .ok());
  EXPECT_EQ(config_.federation(), "f");
  EXPECT_EQ(config_.experts().first_layer(), 20);
}

TEST_F(TextConfigTest, UnknownFieldIsNamedWithItsPlace) {
  const Status status = Load("federation: \"f\"\nsurprise: 1\n");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("surprise"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("line 2"));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("coordinator.textproto"));
}

TEST_F(TextConfigTest, WrongTypeIsAnError) {
  const Status status = Load("experts { first_layer: \"twenty\" }");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("line 1"));
}

TEST_F(TextConfigTest, MissingFileIsNotFound) {
  EXPECT_EQ(LoadTextConfig(folder_.path() / "nothing", &config_).code(),
            absl::StatusCode::kNotFound);
}

// The parser's column for an unknown field is the one behind its name.
TEST_F(TextConfigTest, EveryFaultHasAPlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"federation: 'a'\n  fedration: 'b'\n", "line 2, column 12: "},
      {"federation: 'a'\n  fedration: 'b'\n", "\"fedration\""},
      {"experts {\n  top: 1\n}", "line 2, column 6: "},
      {"experts { top_k: 99999999999 }", "line 1, column 18: Integer out of"},
      {"experts {", "line 1, column "},
      {"federation: 'a'\nfederation: 'b'", "line 2, column "},
      {"federation: 'a\n", "line 1, column "},
      {"[x.y] { }", "line 1, column "},
      {"1: 2", "line 1, column 1: "},
      {"federation: '\xff'", "not UTF-8 at byte 13"},
  };
  for (const auto& [text, message] : cases) {
    config_.Clear();
    const Status status = Load(text);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr(message)) << text;
  }
}

TEST_F(TextConfigTest, ParsesATextUnderAName) {
  EXPECT_TRUE(ParseTextConfig("federation: 'f'", "here", &config_).ok());
  EXPECT_THAT(std::string(ParseTextConfig("x: 1", "here", &config_).message()),
              HasSubstr("here: line 1, column 2: "));
}

}  // namespace
}  // namespace tributary::config

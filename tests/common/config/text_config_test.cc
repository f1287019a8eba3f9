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

}  // namespace
}  // namespace tributary::config

#include "common/config/commented_text.h"

#include <gmock/gmock.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "common/config/defaults.h"
#include "common/config/field_comments.h"
#include "common/config/text_config.h"

namespace tributary::config {
namespace {

using google::protobuf::util::MessageDifferencer;
using testing::HasSubstr;

void ExpectCommented(const google::protobuf::Descriptor* type) {
  for (int i = 0; i < type->field_count(); ++i) {
    const auto* field = type->field(i);
    EXPECT_FALSE(FieldComment(field->full_name()).empty())
        << field->full_name();
    if (field->message_type() != nullptr) {
      ExpectCommented(field->message_type());
    }
  }
}

TEST(CommentedText, ExplainsEveryField) {
  ExpectCommented(CoordinatorConfig::descriptor());
  ExpectCommented(ContributorConfig::descriptor());
  EXPECT_FALSE(
      FieldComment(CoordinatorConfig::descriptor()->full_name()).empty());
  EXPECT_FALSE(
      FieldComment(ContributorConfig::descriptor()->full_name()).empty());
}

TEST(CommentedText, ReadsBackAsWhatWasSet) {
  CoordinatorConfig config;
  config.set_federation("fed");
  config.add_public_hosts("a.example");
  config.add_public_hosts("b.example");
  config.mutable_experts()->set_top_k(4);
  const CoordinatorConfig completed = *CompleteConfig(config);
  const std::string text = CommentedText(config, completed);
  CoordinatorConfig again;
  const Status status = ParseTextConfig(text, "c", &again);
  ASSERT_TRUE(status.ok()) << status << text;
  // Empty blocks are there; what is in them is the same.
  EXPECT_TRUE(MessageDifferencer::Equals(*CompleteConfig(again), completed));
  EXPECT_EQ(again.experts().top_k(), 4);
  EXPECT_EQ(again.experts().window_tokens(), 0);
  EXPECT_THAT(text, HasSubstr("federation: \"fed\"\n"));
  EXPECT_THAT(text, HasSubstr("public_hosts: \"a.example\"\n"
                              "public_hosts: \"b.example\"\n"));
  EXPECT_THAT(text, HasSubstr("  # Experts chosen per token.\n  top_k: 4\n"));
  EXPECT_THAT(text, HasSubstr("# listen_address: \"0.0.0.0:8443\"\n"));
  EXPECT_THAT(text, HasSubstr("  # window_tokens: 256\n"));
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 80u) << line;
  }
}

TEST(CommentedText, ItsDefaultsAreValidWithTheMarksTakenAway) {
  ContributorConfig config;
  const ContributorConfig completed = *CompleteConfig(config, "site-a");
  std::istringstream lines(CommentedText(config, completed));
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    const size_t mark = line.find("# ");
    const size_t colon = line.find(": ");
    const bool is_field =
        mark != std::string::npos && colon != std::string::npos &&
        line.substr(mark + 2, colon - mark - 2).find_first_of(" ;,.") ==
            std::string::npos &&
        line.substr(mark + 2, colon - mark - 2) != "PERSON" &&
        line.substr(mark + 2, colon - mark - 2) != "AUTOMATIC" &&
        line.substr(colon + 2) != "\"\"";
    text += (is_field ? line.erase(mark, 2) : line) + "\n";
  }
  ContributorConfig again;
  const Status status = ParseTextConfig(text, "c", &again);
  ASSERT_TRUE(status.ok()) << status << text;
  EXPECT_EQ(again.training().warmup_steps(), 4);
  EXPECT_TRUE(
      MessageDifferencer::Equals(*CompleteConfig(again, "other"), completed));
}

}  // namespace
}  // namespace tributary::config

#include "contributor/pipeline/site_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "common/base/files.h"
#include "common/config/defaults.h"
#include "common/crypto/key.h"

namespace tributary::contributor {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class SiteRulesTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = TemporaryDirectory::Create("site-rules");
    ASSERT_TRUE(directory.ok());
    directory_.emplace(*std::move(directory));
  }

  std::filesystem::path Write(const std::string& name,
                              const std::string& content) {
    const auto path = directory_->path() / name;
    EXPECT_TRUE(WriteFileAtomic(path, content).ok());
    return path;
  }

  std::optional<TemporaryDirectory> directory_;
};

TEST_F(SiteRulesTest, TheSitesFileWins) {
  config::ContributorConfig config;
  config.mutable_policy()->set_approval(config::SitePolicy::AUTOMATIC);
  config.mutable_policy()->set_min_documents(1);
  config.mutable_policy()->set_min_tokens(10);
  config.mutable_policy()->add_allowed_anchors("mine");
  config.mutable_policy()->set_allow_router_statistics(true);
  const auto missing = directory_->path() / "missing";
  ASSERT_TRUE(ApplySitePolicy(missing, config).ok());
  EXPECT_EQ(config.policy().min_documents(), 1);
  EXPECT_TRUE(config.policy().allow_router_statistics());

  const auto file = Write("policy",
                          "approval: PERSON\nmin_documents: 50\n"
                          "max_upload_bytes: 1000\nallowed_anchors: \"a\"\n"
                          "forbid_statistics: true\nversion: \"site 3\"\n");
  ASSERT_TRUE(ApplySitePolicy(file, config).ok());
  const auto completed = config::CompleteConfig(config, "letters");
  ASSERT_TRUE(completed.ok()) << completed.status();
  const auto rules = RulesOf(*completed);
  ASSERT_TRUE(rules.ok()) << rules.status();
  EXPECT_EQ(rules->approval, SiteRules::Approval::kPerson);
  EXPECT_EQ(rules->min_documents, 50);
  EXPECT_EQ(rules->min_tokens, 10);
  EXPECT_EQ(rules->max_upload_bytes, 1000u);
  EXPECT_THAT(rules->allowed_anchors, ElementsAre("a"));
  EXPECT_EQ(rules->statistics, SiteRules::Statistics::kWithhold);
  // A file that does not allow them forbids them.
  EXPECT_EQ(rules->router_statistics, SiteRules::Statistics::kWithhold);
  const auto allowing = Write("allowing", "allow_router_statistics: true\n");
  ASSERT_TRUE(ApplySitePolicy(allowing, config).ok());
  EXPECT_EQ(RulesOf(config)->router_statistics, SiteRules::Statistics::kSend);
  EXPECT_EQ(rules->version, "site 3");
  EXPECT_EQ(rules->required_approvers, 1);
}

TEST_F(SiteRulesTest, AFileThatCannotBeReadStopsEverything) {
  config::ContributorConfig config;
  const auto file = Write("policy", "min_documnts: 50\n");
  const Status status = ApplySitePolicy(file, config);
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("min_documnts"));
}

TEST_F(SiteRulesTest, TwoApproversRuleOutTheAutomaticApproval) {
  config::ContributorConfig config;
  config.mutable_policy()->set_approval(config::SitePolicy::AUTOMATIC);
  ASSERT_TRUE(
      ApplySitePolicy(Write("policy", "required_approvers: 2\n"), config).ok());
  EXPECT_THAT(config::CompleteConfig(config, "letters").status().ToString(),
              HasSubstr("policy.approval"));
}

TEST_F(SiteRulesTest, TheExampleIsValid) {
  config::ContributorConfig config;
  const Status applied = ApplySitePolicy(
      std::filesystem::path(TRIBUTARY_SOURCE_DIR) /
          "deploy/config/site-policy.textproto",
      config);
  ASSERT_TRUE(applied.ok()) << applied;
  const auto completed = config::CompleteConfig(config, "letters");
  ASSERT_TRUE(completed.ok()) << completed.status();
  EXPECT_EQ(completed->policy().required_approvers(), 2);
  EXPECT_EQ(completed->policy().approver_keys_size(), 3);
}

TEST_F(SiteRulesTest, LoadsTheApproversKeys) {
  const auto key = crypto::PrivateKey::Generate();
  config::ContributorConfig config;
  config.mutable_policy()->add_approver_keys(
      Write("ada.pub", key->public_key().ToPem()));
  const auto completed = config::CompleteConfig(config, "letters");
  ASSERT_TRUE(completed.ok()) << completed.status();
  const auto rules = RulesOf(*completed);
  ASSERT_TRUE(rules.ok()) << rules.status();
  ASSERT_EQ(rules->approver_keys.size(), 1u);
  EXPECT_EQ(rules->approver_keys[0], key->public_key());
  config.mutable_policy()->set_approver_keys(0, Write("bad.pub", "no key"));
  EXPECT_THAT(RulesOf(config).status().ToString(), HasSubstr("bad.pub"));
}

}  // namespace
}  // namespace tributary::contributor

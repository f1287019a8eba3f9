#include "common/config/defaults.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "common/config/text_config.h"

namespace tributary::config {
namespace {

using testing::HasSubstr;

std::string CoordinatorError(const std::string& text) {
  CoordinatorConfig config;
  config.set_federation("fed");
  CoordinatorConfig change;
  EXPECT_TRUE(ParseTextConfig(text, "test", &change).ok()) << text;
  config.MergeFrom(change);
  const Status status = CompleteConfig(config).status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
  return std::string(status.message());
}

std::string ContributorError(const std::string& text) {
  ContributorConfig config;
  EXPECT_TRUE(ParseTextConfig(text, "test", &config).ok()) << text;
  const Status status = CompleteConfig(config, "site-a").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << text;
  return std::string(status.message());
}

TEST(CoordinatorDefaults, FillWhatIsNotSet) {
  CoordinatorConfig config;
  config.set_federation("fed");
  config.mutable_experts()->set_top_k(3);
  const auto completed = CompleteConfig(config);
  ASSERT_TRUE(completed.ok()) << completed.status();
  EXPECT_EQ(completed->experts().top_k(), 3);
  EXPECT_EQ(completed->experts().first_layer(), 0);
  EXPECT_EQ(completed->experts().max_width(), 0);
  EXPECT_EQ(completed->experts().window_tokens(), 256);
  EXPECT_EQ(completed->experts().windows_per_class(), 12);
  EXPECT_EQ(completed->experts().heldout_windows(), 16);
  EXPECT_EQ(completed->experts().sample_stride(), 2);
  EXPECT_EQ(completed->admission().max_public_loss_increase(), 0.05);
  EXPECT_EQ(completed->admission().max_public_share(), 0.25);
  EXPECT_EQ(completed->admission().max_rms_ratio(), 8);
  EXPECT_EQ(completed->admission().max_absolute_ratio(), 32);
  EXPECT_EQ(completed->admission().max_row_norm(), 100);
  EXPECT_FALSE(completed->admission().require_operator());
  EXPECT_EQ(completed->quotas().max_bytes(), 8589934592u);
  EXPECT_EQ(completed->quotas().max_contributions(), 16);
  EXPECT_EQ(completed->quotas().min_free_disk_bytes(), 1073741824u);
  EXPECT_EQ(completed->releases().max_public_loss_increase(), 0.05);
  EXPECT_EQ(completed->listen_address(), "0.0.0.0:8443");
  EXPECT_EQ(*PurgeGraceSeconds(*completed), 0);
  config.set_purge_grace("15m");
  EXPECT_EQ(*PurgeGraceSeconds(*CompleteConfig(config)), 900);
}

TEST(CoordinatorDefaults, NameTheFieldThatIsOutOfRange) {
  EXPECT_EQ(CoordinatorError("federation: 'Fed'"),
            "coordinator configuration: federation: got \"Fed\", wanted 1 to "
            "63 of a-z, 0-9 and \"-\", not beginning or ending with \"-\"");
  EXPECT_EQ(CoordinatorError("experts { top_k: -1 }"),
            "coordinator configuration: experts.top_k: got -1, wanted 1 to "
            "1024");
  const std::pair<const char*, const char*> cases[] = {
      {"listen_address: 'localhost'", "listen_address: got \"localhost\""},
      {"listen_address: 'a:65536'", "listen_address: got"},
      {"public_hosts: 'a'\npublic_hosts: 'b c'", "public_hosts[1]: got \"b c"},
      {"public_address: 'a:0'", "public_address: got \"a:0\""},
      {"experts { first_layer: -1 }", "experts.first_layer: got -1"},
      {"experts { max_width: -1 }", "experts.max_width: got -1"},
      {"experts { window_tokens: 1 }", "experts.window_tokens: got 1"},
      {"experts { windows_per_class: -1 }", "experts.windows_per_class: got"},
      {"experts { heldout_windows: -1 }", "experts.heldout_windows: got -1"},
      {"experts { sample_stride: -2 }", "experts.sample_stride: got -2"},
      {"admission { max_public_share: 1.5 }", "max_public_share: got 1.5"},
      {"admission { max_public_loss_increase: nan }", "increase: got nan"},
      {"admission { max_rms_ratio: -1 }", "admission.max_rms_ratio: got -1"},
      {"admission { max_absolute_ratio: inf }", "max_absolute_ratio: got inf"},
      {"admission { max_row_norm: -1 }", "admission.max_row_norm: got -1"},
      {"quotas { max_contributions: -1 }", "quotas.max_contributions: got -1"},
      {"releases { max_public_loss_increase: -1 }", "releases.max_public_lo"},
      {"worker { threads: -1 }", "worker.threads: got -1"},
      {"worker { executable: 'a' }", "worker.executable: got \"a\""},
      {"worker { compute_lock_file: 'a' }", "worker.compute_lock_file: got"},
      {"purge_grace: 'soon'", "purge_grace: got \"soon\", wanted a duration"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(CoordinatorError(text), HasSubstr(message));
  }
  EXPECT_FALSE(CompleteConfig(CoordinatorConfig()).ok());
}

TEST(ContributorDefaults, FillWhatIsNotSet) {
  ContributorConfig config;
  config.mutable_expert()->set_text_share(0);
  const auto completed = CompleteConfig(config, "site-a");
  ASSERT_TRUE(completed.ok()) << completed.status();
  EXPECT_EQ(completed->contribution(), "site-a");
  EXPECT_EQ(completed->data().text_field(), "text");
  EXPECT_EQ(completed->expert().recipe(), Expert::TRAIN);
  EXPECT_EQ(completed->expert().router(), "logistic");
  EXPECT_EQ(completed->expert().distillation_form(), "tail");
  EXPECT_EQ(completed->expert().text_share(), 0);  // it was set
  EXPECT_EQ(CompleteConfig({}, "a")->expert().text_share(), 0.5);
  EXPECT_EQ(completed->training().learning_rate(), 1e-3);
  EXPECT_EQ(completed->training().beta1(), 0.9);
  EXPECT_EQ(completed->training().beta2(), 0.95);
  EXPECT_EQ(completed->training().weight_decay(), 0);
  EXPECT_EQ(completed->training().clip_norm(), 1);
  EXPECT_EQ(completed->training().warmup_steps(), 4);
  EXPECT_EQ(completed->training().final_fraction(), 0.1);
  EXPECT_EQ(completed->training().epochs(), 2);
  EXPECT_EQ(completed->training().windows_per_step(), 1);
  EXPECT_EQ(completed->training().checkpoint_steps(), 16);
  EXPECT_EQ(completed->policy().approval(), SitePolicy::PERSON);
  EXPECT_EQ(completed->policy().min_documents(), 8);
  EXPECT_EQ(completed->policy().min_tokens(), 2048);
  EXPECT_EQ(completed->policy().version(), "1");
}

TEST(ContributorDefaults, NameTheFieldThatIsOutOfRange) {
  const std::pair<const char*, const char*> cases[] = {
      {"contribution: 'A'", "contributor configuration: contribution: got"},
      {"data { train: 'a' train: '' }", "data.train[1]: got \"\""},
      {"data { heldout: '' }", "data.heldout[0]: got \"\""},
      {"data { public_heldout: '' }", "data.public_heldout[0]: got \"\""},
      {"data { window_tokens: -1 }", "data.window_tokens: got -1"},
      {"data { max_train_windows: -1 }", "data.max_train_windows: got -1"},
      {"data { max_heldout_windows: -1 }", "max_heldout_windows: got -1"},
      {"data { max_windows_per_document: -1 }", "per_document: got -1"},
      {"expert { width: -1 }", "expert.width: got -1, wanted 0 to"},
      {"expert { first_layer: -1 }", "expert.first_layer: got -1"},
      {"expert { router: 'x' }", "expert.router: got \"x\", wanted \"logis"},
      {"expert { text_share: 2 }", "expert.text_share: got 2, wanted 0 to 1"},
      {"expert { distillation_form: 'x' }", "distillation_form: got \"x\""},
      {"training { learning_rate: -1 }", "training.learning_rate: got -1"},
      {"training { beta1: 1 }", "training.beta1: got 1"},
      {"training { beta2: -0.5 }", "training.beta2: got -0.5"},
      {"training { weight_decay: -1 }", "training.weight_decay: got -1"},
      {"training { clip_norm: -1 }", "training.clip_norm: got -1"},
      {"training { warmup_steps: -1 }", "training.warmup_steps: got -1"},
      {"training { final_fraction: 2 }", "training.final_fraction: got 2"},
      {"training { epochs: -1 }", "training.epochs: got -1"},
      {"training { windows_per_step: -1 }", "windows_per_step: got -1"},
      {"training { checkpoint_steps: -1 }", "checkpoint_steps: got -1"},
      {"policy { min_documents: -1 }", "policy.min_documents: got -1"},
      {"policy { min_tokens: -1 }", "policy.min_tokens: got -1"},
      {"worker { threads: -1 }", "worker.threads: got -1"},
  };
  for (const auto& [text, message] : cases) {
    EXPECT_THAT(ContributorError(text), HasSubstr(message));
  }
  ContributorConfig config;
  config.mutable_policy()->set_approval(static_cast<SitePolicy::Approval>(7));
  EXPECT_THAT(std::string(CompleteConfig(config, "a").status().message()),
              HasSubstr("policy.approval: got \"7\""));
  config.mutable_policy()->clear_approval();
  config.mutable_expert()->set_recipe(static_cast<Expert::Recipe>(7));
  EXPECT_THAT(std::string(CompleteConfig(config, "a").status().message()),
              HasSubstr("expert.recipe: got \"7\""));
}

TEST(ContributorDefaults, TrainingNeedsText) {
  ContributorConfig config;
  const Status status = CheckTrainingData(config);
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("data.train: got nothing"));
  config.mutable_data()->add_train("/texts");
  EXPECT_TRUE(CheckTrainingData(config).ok());
}

}  // namespace
}  // namespace tributary::config

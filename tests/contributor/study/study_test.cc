#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <set>

#include "common/base/files.h"
#include "contributor/pipeline/plan.h"
#include "contributor/study/study_report.h"

namespace tributary::contributor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ParseWidthTest, SharesAndChannels) {
  EXPECT_EQ(*ParseWidth("75%", 1536), 1152);
  EXPECT_EQ(*ParseWidth("17%", 1536), 256);
  EXPECT_EQ(*ParseWidth("1%", 1536), 128);
  EXPECT_EQ(*ParseWidth("640", 1536), 640);
  for (const char* wrong : {"", "%", "x", "0", "100", "1536", "1664", "100%",
                            "-5%", "12.5", "64x"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseWidth(wrong, 1536).status()))
        << wrong;
  }
}

class StudyPlanTest : public ::testing::Test {
 protected:
  StudyPlanTest() {
    options_.model = "/anchor";
    options_.texts = {"/own.jsonl"};
    options_.general_texts = {"/general.jsonl"};
    options_.widths = {512, 256};
  }
  StudyPlan Plan(bool statistics = true) const {
    return PlanStudy(options_,
                     {.num_layers = 4,
                      .hidden_size = 128,
                      .intermediate_size = 1024,
                      .has_statistics = statistics},
                     store_, "fingerprint", "/zero_router");
  }
  static std::vector<std::string> Names(const StudyPlan& plan) {
    std::vector<std::string> names;
    for (const Stage& stage : plan.stages) {
      names.push_back(stage.name);
    }
    return names;
  }

  StudyOptions options_;
  StageStore store_{"/study"};
};

TEST_F(StudyPlanTest, EveryStageReadsOnlyWhatCameBefore) {
  for (const bool statistics : {true, false}) {
    const StudyPlan plan = Plan(statistics);
    std::set<std::string> before;
    for (const Stage& stage : plan.stages) {
      for (const std::string& earlier : stage.after) {
        EXPECT_TRUE(before.contains(earlier)) << stage.name << " " << earlier;
      }
      // Whatever a task names lies in a folder that it may read.
      const std::string job = stage.job.DebugString();
      for (const Stage& other : plan.stages) {
        const std::string folder = "\"/study/" + other.name + "/";
        if (job.find(folder) != std::string::npos && other.name != stage.name) {
          EXPECT_TRUE(std::ranges::count(stage.after, other.name) > 0)
              << stage.name << " reads " << other.name;
        }
      }
      before.insert(stage.name);
    }
  }
}

TEST_F(StudyPlanTest, DistilsWhatIsCompared) {
  EXPECT_THAT(
      Names(Plan()),
      ElementsAre("text", "general_text", "calibrate_anchor", "fit_router",
                  "teacher", "calibrate_domain", "calibrate_general", "overlap",
                  "prune", "measure_pruned", "distill_domain-512",
                  "distill_domain-256", "distill_general-256", "export",
                  "measure_distilled"));
  options_.compare = StudyOptions::Compare::kNone;
  EXPECT_EQ(FindStage(Plan().stages, "distill_general-256"), nullptr);
  options_.compare = StudyOptions::Compare::kAll;
  const StudyPlan plan = Plan();
  EXPECT_NE(FindStage(plan.stages, "distill_general-512"), nullptr);
  // The teacher is asked in the first one.
  EXPECT_TRUE(FindStage(plan.stages, "distill_domain-512")
                  ->job.tasks(1)
                  .distill()
                  .teacher_cache_path()
                  .empty());
  EXPECT_EQ(FindStage(plan.stages, "distill_general-256")
                ->job.tasks(1)
                .distill()
                .teacher_cache_path(),
            "/study/distill_domain-512/distilled.teacher.safetensors");
  EXPECT_EQ(plan.experts.size(), 6u);
  EXPECT_TRUE(std::ranges::count(plan.fractions, 0.25) == 1);
}

TEST_F(StudyPlanTest, AnImportedTeacherBringsItsRows) {
  options_.teacher = "/teacher";
  const StudyPlan plan = Plan();
  EXPECT_EQ(FindStage(plan.stages, "fit_router"), nullptr);
  EXPECT_EQ(FindStage(plan.stages, "calibrate_general")
                ->job.tasks(0)
                .calibrate()
                .router_path(),
            "/study/teacher/imported.safetensors");
  options_.router = "/rows";
  EXPECT_EQ(FindStage(Plan().stages, "export")
                ->job.tasks(0)
                .export_expert()
                .router_path(),
            "/rows");
}

StudyResults Results() {
  const auto loss = [](double mean) {
    return StudyLoss{
        .mean = mean, .tokens = 100, .windows = {mean - 0.1, mean + 0.1}};
  };
  StudyResults results{.anchor = loss(3), .full = loss(2)};
  results.intermediate_size = 1024;
  results.rows.push_back({{Choice::kDomain, 512, true}, loss(2.4), loss(2.1)});
  results.rows.push_back({{Choice::kRandom, 512, false}, loss(9), {}});
  results.fractions = {0.25, 0.5, 0.75};
  results.overlaps.push_back({.layer = 2,
                              .channels = 1024,
                              .common = {0.4, 0.6, 0.8},
                              .rank_correlation = 0.5});
  results.curves.push_back(
      {.name = "distil <domain>", .points = {{1, 3}, {2, 2.5}, {3, 2.2}}});
  results.text = {{"text", {{"train_tokens", 1000}, {"heldout_tokens", 100}}},
                  {"general_text", {{"train_tokens", 900}}}};
  results.stage_seconds = {{"text", 0.5}};
  return results;
}

TEST(StudyReportTest, RetentionIsTheShareOfTheGain) {
  const StudyResults results = Results();
  EXPECT_NEAR(*results.Retention(results.rows[0].pruned), 0.6, 1e-12);
  const nlohmann::json value = ToJson(results);
  EXPECT_NEAR(value["widths"][0]["distilled"]["retention"].get<double>(), 0.9,
              1e-12);
  EXPECT_TRUE(value["widths"][1]["distilled"].is_null());
  EXPECT_NEAR(value["widths"][1]["pruned"]["retention"].get<double>(), -6,
              1e-12);
  EXPECT_THAT(StudyTable(results), HasSubstr("0.900"));
  StudyResults worse = results;
  worse.full.mean = 3.5;
  EXPECT_FALSE(worse.Retention(worse.rows[0].pruned).has_value());
  EXPECT_THAT(StudyTable(worse), HasSubstr("gains nothing"));
}

TEST(StudyReportTest, StandardErrorOfPairedWindows) {
  const StudyLoss a{.windows = {1, 2, 3}};
  const StudyLoss b{.windows = {0, 1, 2}};
  EXPECT_NEAR(StandardError(a, b), 0, 1e-12);
  const StudyLoss c{.windows = {0, 0, 0}};
  EXPECT_NEAR(StandardError(a, c), std::sqrt(1.0 / 3), 1e-12);
  EXPECT_EQ(StandardError({.windows = {1}}, {.windows = {2}}), 0);
}

TEST(StudyReportTest, ThePageHoldsEverythingInItself) {
  const auto folder = *TemporaryDirectory::Create("study");
  ASSERT_TRUE(WriteStudyReport(Results(),
                               {.domain = "a <b> & c", .general = "prose"},
                               folder.path())
                  .ok());
  const std::string html = *ReadFile(folder.path() / "index.html");
  EXPECT_THAT(html, HasSubstr("a &lt;b&gt; &amp; c"));
  EXPECT_THAT(html, Not(HasSubstr("a <b>")));
  EXPECT_THAT(html, HasSubstr("color-scheme:light dark"));
  for (const char* outside : {"<link", "<script", "src=", "@import", "url(h"}) {
    EXPECT_THAT(html, Not(HasSubstr(outside)));
  }
  EXPECT_THAT(*ReadFile(folder.path() / "overlap/overlap.txt"),
              HasSubstr("60 %"));
  EXPECT_TRUE(std::filesystem::exists(folder.path() / "overlap/layer-02.svg"));
}

}  // namespace
}  // namespace tributary::contributor

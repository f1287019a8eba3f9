#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/crypto/digest.h"
#include "common/crypto/key.h"
#include "coordinator/report/analysis_pictures.h"
#include "coordinator/report/comparison.h"
#include "coordinator/report/model_card.h"
#include "coordinator/report/release_page.h"

namespace tributary::coordinator {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kTinyAnchor[] =
    TRIBUTARY_SOURCE_DIR "/tests/fixtures/tiny_anchor";

// A release of two experts without files of weights.
class ReportTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = TemporaryDirectory::Create("report");
    ASSERT_TRUE(directory.ok());
    directory_.emplace(*std::move(directory));
    ASSERT_TRUE(MakeDirectories(folder() / "anchor").ok());
    ASSERT_TRUE(
        WriteFileAtomic(folder() / "anchor/config.json",
                        *ReadFile(std::string(kTinyAnchor) + "/config.json"))
            .ok());
    manifest::ReleaseManifest release;
    release.anchor = {"tiny", crypto::Sha256Hex("anchor")};
    release.routing.top_k = 2;
    for (const char* name : {"one", "two"}) {
      release.experts.push_back({.contribution = name,
                                 .contributor = std::string("owner-") + name,
                                 .blob = {crypto::Sha256Hex(name), 1000},
                                 .manifest_digest = crypto::Sha256Hex("m"),
                                 .widths = {0, 128, 256, 128}});
    }
    release.router_blob = {crypto::Sha256Hex("router"), 10};
    const auto json = release.ToJson();
    ASSERT_TRUE(json.ok()) << json.status();
    ASSERT_TRUE(WriteFileAtomic(folder() / "release.json", *json).ok());
    const auto key = crypto::PrivateKey::Generate();
    ASSERT_TRUE(key.ok());
    const auto envelope =
        manifest::SignRelease({.release = "releases/7",
                               .manifest_digest = crypto::Sha256Hex(*json),
                               .previous_release = "releases/5",
                               .create_time_s = 1'800'000'000,
                               .evaluation = {{"public", "anchor", 3.0, 100},
                                              {"public", "release", 2.9, 100}}},
                              *key);
    ASSERT_TRUE(envelope.ok()) << envelope.status();
    ASSERT_TRUE(
        WriteFileAtomic(folder() / "release.dsse.json", *envelope).ok());
  }

  std::filesystem::path folder() const { return directory_->path(); }

  // A page that an XML parser reads, without anything from elsewhere.
  void ExpectWellFormed(const std::string& page) const {
    const auto path = folder() / "page.html";
    ASSERT_TRUE(WriteFileAtomic(path, page).ok());
    const std::string command =
        std::string(TRIBUTARY_PYTHON) + " " + TRIBUTARY_SOURCE_DIR +
        "/tests/coordinator/report/check_page.py " + path.string();
    EXPECT_EQ(std::system(command.c_str()), 0);
  }

  std::optional<TemporaryDirectory> directory_;
};

Json SampleAnalysis() {
  const Json pairs = {{0, 0.5, 0.5}, {1, 0, 0}, {1, 0, 0}};
  Json vocabulary = {{"min_count", 10}};
  for (const char* key : {"input", "next", "predicted"}) {
    vocabulary[key] = {
        {"ids", 4},
        {"first_choice", {0.5, 0.75}},
        {"top",
         {{{{"id", 5}, {"text", "<b>&"}, {"share", 0.9}, {"count", 12}}},
          Json::array(),
          Json::array()}}};
  }
  return {{"tokens", 40},
          {"top_k", 2},
          {"layers", {1, 2}},
          {"experts", {"public", "one", "two"}},
          {"domains",
           {{{"name", "a"},
             {"windows", 2},
             {"predicted_tokens", 38},
             {"log_loss", 2.5}}}},
          {"utilisation", {{1, 0.5, 0.5}, {1, 0.25, 0.75}}},
          {"domain_specialisation", {{{1, 0.5, 0.5}}, {{1, 0.25, 0.75}}}},
          {"co_activation", {{"all_layers", pairs}}},
          {"vocabulary", vocabulary},
          {"saturation", {{"layers", {1, 2}}, {"share", {1, 0.5}}}},
          {"importance", {{"fraction", 0.25}, {"overlap", {{{1}}, {{1}}}}}}};
}

TEST_F(ReportTest, FactsAreThoseOfTheFolder) {
  const auto facts = ReadReleaseFacts(folder());
  ASSERT_TRUE(facts.ok()) << facts.status();
  EXPECT_EQ(facts->name(), "releases/7");
  EXPECT_EQ(facts->previous_release, "releases/5");
  EXPECT_EQ(facts->experts.size(), 2u);
  EXPECT_EQ(facts->losses.size(), 2u);
  const int64_t mlp = 3 * 128 * (128 + 256 + 128);
  EXPECT_EQ(facts->experts[0].parameters, mlp + 4 * (128 + 1));
  EXPECT_EQ(facts->total_parameters - facts->anchor_parameters,
            2 * facts->experts[0].parameters);
  EXPECT_EQ(facts->active_parameters - facts->anchor_parameters,
            2 * mlp * 2 / 3 + 2 * 4 * 129);
  EXPECT_EQ(DescribeWidths({0, 128, 256, 128}),
            "widths 128 to 256 in 3 of 4 layers");
  EXPECT_EQ(Grouped(1234567), "1,234,567");
  EXPECT_EQ(Grouped(12), "12");
}

TEST_F(ReportTest, AnEnvelopeOfAnotherManifestIsRefused) {
  std::string json = *ReadFile(folder() / "release.json");
  const size_t at = json.find("owner-two");
  json.replace(at, 9, "owner-six");
  ASSERT_TRUE(WriteFileAtomic(folder() / "release.json", json).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(ReadReleaseFacts(folder()).status()));
}

TEST_F(ReportTest, CardNamesLicenceExpertsAndLosses) {
  auto facts = ReadReleaseFacts(folder());
  ASSERT_TRUE(facts.ok());
  facts->losses.push_back({"contributors/x", "a|b", "own", 2.0, 5});
  const std::string card = ModelCard(*facts, "apache-2.0");
  EXPECT_THAT(card, HasSubstr("license: \"apache-2.0\"\n"));
  EXPECT_THAT(card, HasSubstr("| 2 | two | owner-two | widths 128 to 256"));
  EXPECT_THAT(card,
              HasSubstr("| a\\|b | contributors/x | own | 2.0000 | 7.39"));
  EXPECT_THAT(card, HasSubstr(facts->digest));
  // The anchor's own card answers where nobody says otherwise.
  ASSERT_TRUE(WriteFileAtomic(folder() / "anchor/README.md",
                              "---\nlicense: mit\n---\n# it\n")
                  .ok());
  EXPECT_THAT(ModelCard(*ReadReleaseFacts(folder()), ""),
              HasSubstr("license: \"mit\""));
}

TEST_F(ReportTest, PageTellsWhatChangedAndWhoLeft) {
  auto facts = ReadReleaseFacts(folder());
  ASSERT_TRUE(facts.ok());
  facts->state = "PUBLISHED";
  facts->losses = {{"contributors/owner-one", "one", "anchor", 3.0, 10},
                   {"contributors/owner-one", "one", "own", 2.0, 10},
                   {"contributors/owner-one", "one", "release", 2.1, 10},
                   {"contributors/owner-one", "one", "previous", 2.4, 10}};
  facts->withdrawals = {{.contribution = "gone<script>",
                         .contributor = "owner",
                         .state = "PURGED",
                         .time_s = 1'800'000'000,
                         .releases = {"releases/6"},
                         .new_release = "releases/7"}};
  facts->verified = {"a signature"};
  const Json analysis = SampleAnalysis();
  const auto page = ReleasePage(*facts, &analysis);
  ASSERT_TRUE(page.ok()) << page.status();
  ExpectWellFormed(*page);
  EXPECT_THAT(*page, HasSubstr("releases/7"));
  EXPECT_THAT(*page, HasSubstr("gone&lt;script&gt;"));
  EXPECT_THAT(*page, Not(HasSubstr("<script")));
  EXPECT_THAT(*page, HasSubstr("+0.3000"));  // the previous one was worse
  EXPECT_THAT(*page, HasSubstr("0.100 nats per token behind"));
  EXPECT_THAT(*page, HasSubstr("Who computes which text"));
  facts->state = "SUPERSEDED";
  facts->losses.clear();
  const auto old = ReleasePage(*facts, nullptr);
  ASSERT_TRUE(old.ok());
  ExpectWellFormed(*old);
  EXPECT_THAT(*old, HasSubstr("no longer the newest"));
  EXPECT_THAT(*old, HasSubstr("Nobody has measured"));
}

Json SampleComparison() {
  const auto loss = [](double value, double change, const Json& kept) {
    return Json{{"log_loss", value}, {"change", change}, {"gain_kept", kept}};
  };
  const auto model = [](const char* id, const Json& losses) {
    return Json{{"id", id},
                {"label", std::string("<") + id + ">"},
                {"contribution", ""},
                {"parameters", {{"total", 2'500'000}, {"active", 1'000'000}}},
                {"losses", losses}};
  };
  return {
      {"texts",
       {{{"name", "own"}, {"contribution", "one"}, {"predicted_tokens", 100}},
        {{"name", "public"}, {"contribution", ""}, {"predicted_tokens", 90}}}},
      {"models",
       {model("anchor", {loss(3.0, 0.0, 0.0), loss(2.0, 0.0, nullptr)}),
        model("release", {loss(2.5, -0.5, 0.96), loss(2.01, 0.01, nullptr)})}}};
}

TEST_F(ReportTest, BaselinesAreATableWithAVerdict) {
  const auto facts = ReadReleaseFacts(folder());
  ASSERT_TRUE(facts.ok());
  const Json sample = SampleComparison();
  const auto page = ReleasePage(*facts, nullptr, &sample);
  ASSERT_TRUE(page.ok()) << page.status();
  ExpectWellFormed(*page);
  EXPECT_THAT(*page, HasSubstr("at least 96.0 % of every owner"));
  EXPECT_THAT(*page, HasSubstr("1.0101 of the anchor"));
  EXPECT_THAT(*page, HasSubstr("<b>&lt;release&gt;</b>"));
  const auto comparison = Comparison::FromJson(sample);
  ASSERT_TRUE(comparison.ok()) << comparison.status();
  EXPECT_THAT(ComparisonTable(*comparison), HasSubstr("2.500 -0.500  96 %"));
  EXPECT_FALSE(comparison->LeastGainKept("nothing").has_value());
  for (const char* field : {"texts", "models"}) {
    Json broken = sample;
    broken.erase(field);
    EXPECT_TRUE(absl::IsInvalidArgument(Comparison::FromJson(broken).status()));
  }
  for (const char* field : {"id", "parameters", "losses"}) {
    Json broken = sample;
    broken["models"][1].erase(field);
    EXPECT_TRUE(absl::IsInvalidArgument(Comparison::FromJson(broken).status()));
  }
  Json text = sample;
  text["models"][0]["losses"][1]["log_loss"] = "two";
  EXPECT_TRUE(absl::IsInvalidArgument(Comparison::FromJson(text).status()));
}

TEST_F(ReportTest, NodesAreDrawnWhereTheyWereSimulated) {
  Json analysis = SampleAnalysis();
  analysis["nodes"] = {{"groups", 3},
                       {"limit", 1},
                       {"groups_free", {1.5, 2}},
                       {"groups_limited", {1, 1}},
                       {"choices_kept", {0.9, 0.8}},
                       {"mass_kept", {0.95, 0.9}}};
  const auto page = AnalysisPage(analysis, "x");
  ASSERT_TRUE(page.ok()) << page.status();
  ExpectWellFormed(*page);
  EXPECT_THAT(*page, HasSubstr("Nodes that a token would reach"));
  analysis["nodes"]["groups_free"] = {1};
  EXPECT_TRUE(absl::IsInvalidArgument(AnalysisPage(analysis, "x").status()));
}

TEST_F(ReportTest, AnalysesThatAreNoneAreErrors) {
  const auto facts = ReadReleaseFacts(folder());
  ASSERT_TRUE(facts.ok());
  for (const char* field : {"experts", "vocabulary", "domain_specialisation"}) {
    Json broken = SampleAnalysis();
    broken.erase(field);
    EXPECT_TRUE(absl::IsInvalidArgument(ReleasePage(*facts, &broken).status()))
        << field;
  }
  Json short_list = SampleAnalysis();
  short_list["utilisation"][0].erase(0);
  EXPECT_TRUE(absl::IsInvalidArgument(AnalysisPage(short_list, "x").status()));
  Json text = SampleAnalysis();
  text["domains"][0]["log_loss"] = "low";
  EXPECT_TRUE(absl::IsInvalidArgument(AnalysisPage(text, "x").status()));
}

TEST_F(ReportTest, PicturesStandAlone) {
  const auto pictures = AnalysisPictures(SampleAnalysis(), PictureUse::kFile);
  ASSERT_TRUE(pictures.ok()) << pictures.status();
  EXPECT_EQ(pictures->size(), 7u);
  for (const NamedPicture& picture : *pictures) {
    ExpectWellFormed(picture.svg);
    EXPECT_THAT(picture.svg, HasSubstr("prefers-color-scheme:dark"));
  }
  // Many experts: shades alone.
  Heatmap wide{.title = "wide",
               .description = "d",
               .rows = {"r"},
               .columns = std::vector<std::string>(300, "c"),
               .values = std::vector<double>(300, 2.0)};
  EXPECT_THAT(ToSvg(wide, PictureUse::kInPage), Not(HasSubstr("<style")));
}

}  // namespace
}  // namespace tributary::coordinator

#include "coordinator/evaluation/routing_analysis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <random>

#include "common/base/files.h"
#include "common/base/json.h"

namespace tributary::coordinator {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;

constexpr int64_t kMinCount = 5;
constexpr double kFraction = 0.25;

RoutingRecord Random(const std::vector<std::string>& experts,
                     const std::vector<int64_t>& layers, int64_t top_k,
                     int64_t tokens, unsigned seed) {
  std::mt19937 random(seed);
  std::mt19937 text(5);  // the same text for every record
  RoutingRecord record{.domains = {"a", "b", "c"},
                       .experts = experts,
                       .layers = layers,
                       .top_k = top_k};
  for (int64_t t = 0; t < tokens; ++t) {
    record.domain.push_back(static_cast<int32_t>(3 * t / tokens));
    record.input.push_back(static_cast<int32_t>(text() % 17));
    record.next.push_back(t % 10 == 9 ? -1 : static_cast<int32_t>(text() % 17));
    record.predicted.push_back(static_cast<int32_t>(text() % 30));
  }
  std::vector<int32_t> ids(experts.size());
  for (size_t l = 0; l < layers.size(); ++l) {
    auto& chosen = record.chosen.emplace_back();
    for (int64_t t = 0; t < tokens; ++t) {
      for (size_t e = 0; e < ids.size(); ++e) {
        ids[e] = static_cast<int32_t>(e);
      }
      std::shuffle(ids.begin(), ids.end(), random);
      // Expert 0 is popular and the last one is never chosen.
      std::erase(ids, static_cast<int32_t>(experts.size()) - 1);
      if (random() % 2 == 0) {
        std::iter_swap(ids.begin(), std::find(ids.begin(), ids.end(), 0));
      }
      chosen.insert(chosen.end(), ids.begin(), ids.begin() + top_k);
      ids.resize(experts.size());
    }
  }
  return record;
}

Json ToJson(const RoutingRecord& record) {
  return {{"domains", record.domains}, {"experts", record.experts},
          {"layers", record.layers},   {"top_k", record.top_k},
          {"domain", record.domain},   {"input", record.input},
          {"next", record.next},       {"predicted", record.predicted},
          {"chosen", record.chosen}};
}

TEST(RoutingAnalysisTest, EveryFormulaAgreesWithTheReference) {
  const RoutingRecord record =
      Random({"public", "x", "y", "z", "idle"}, {1, 2, 5}, 3, 400, 1);
  const RoutingRecord other =
      Random({"public", "z", "new", "x", "idle"}, {2, 3, 5}, 3, 400, 2);
  Json found = {{"utilisation", Utilisation(record)},
                {"domain_specialisation", DomainSpecialisation(record)},
                {"co_activation", CoActivation(record)},
                {"mean_co_activation", MeanCoActivation(record)}};
  const std::pair<std::string, VocabularyKey> keys[] = {
      {"input", VocabularyKey::kInput},
      {"next", VocabularyKey::kNext},
      {"predicted", VocabularyKey::kPredicted}};
  for (const auto& [name, key] : keys) {
    const auto vocabulary = Vocabulary(record, key, kMinCount, 4);
    found[name + "_first_choice"] = vocabulary.first_choice;
    found[name + "_mean_share"] = vocabulary.mean_share;
    Json top = Json::array();
    for (const auto& shares : vocabulary.top) {
      EXPECT_LE(shares.size(), 4u);
      top.push_back(shares.empty() ? 0.0 : shares.front().share);
    }
    found[name + "_top"] = top;
  }
  const auto saturation = RouterSaturation(record, other);
  ASSERT_TRUE(saturation.ok()) << saturation.status();
  EXPECT_THAT(saturation->layers, ElementsAre(2, 5));
  found["saturation"] = saturation->share;
  std::mt19937 random(3);
  std::vector<double> first(64);
  std::vector<double> second(64);
  for (size_t i = 0; i < first.size(); ++i) {
    first[i] = static_cast<double>(random() % 40);  // with ties
    second[i] = static_cast<double>(random() % 40);
  }
  found["importance_overlap"] = ImportanceOverlap(first, second, kFraction);

  const auto folder = TemporaryDirectory::Create("routing");
  ASSERT_TRUE(folder.ok());
  const auto input = folder->path() / "data.json";
  const auto output = folder->path() / "out.json";
  ASSERT_TRUE(WriteFileAtomic(input, Json{{"record", ToJson(record)},
                                          {"other", ToJson(other)},
                                          {"found", found},
                                          {"importance", {first, second}},
                                          {"fraction", kFraction},
                                          {"min_count", kMinCount}}
                                         .dump())
                  .ok());
  const std::string command =
      std::string(TRIBUTARY_PYTHON) + " " + TRIBUTARY_SOURCE_DIR +
      "/tests/coordinator/evaluation/routing_reference.py " + input.string() +
      " > " + output.string();
  ASSERT_EQ(std::system(command.c_str()), 0);
  const auto differences = ParseJson(*ReadFile(output));
  ASSERT_TRUE(differences.ok()) << differences.status();
  EXPECT_EQ(differences->size(), 15u);
  for (const auto& [name, difference] : differences->items()) {
    EXPECT_THAT(difference.get<double>(), DoubleNear(0, 1e-12)) << name;
  }
}

TEST(RoutingAnalysisTest, SharesAddUpToTopK) {
  const RoutingRecord record = Random({"a", "b", "c", "d"}, {0}, 2, 90, 9);
  double sum = 0;
  for (const double share : Utilisation(record)) {
    sum += share;
  }
  EXPECT_NEAR(sum, 2, 1e-12);
  EXPECT_NEAR(
      *std::max_element(record.chosen[0].begin(), record.chosen[0].end()), 2,
      0);
  // Whoever is chosen has one companion.
  const auto pairs = CoActivation(record);
  EXPECT_NEAR(pairs[1] + pairs[2] + pairs[3], 1, 1e-12);
  EXPECT_EQ(pairs[15], 0);
}

TEST(RoutingAnalysisTest, SaturationWantsTheSameTokens) {
  const RoutingRecord record = Random({"a", "b", "c"}, {0}, 2, 30, 1);
  const auto same = RouterSaturation(record, record);
  ASSERT_TRUE(same.ok());
  EXPECT_THAT(same->share, ElementsAre(1.0));
  EXPECT_TRUE(absl::IsInvalidArgument(
      RouterSaturation(record, Random({"a", "b", "c"}, {0}, 2, 60, 1))
          .status()));
  EXPECT_TRUE(absl::IsInvalidArgument(
      RouterSaturation(record, Random({"a", "b", "c"}, {0}, 1, 30, 1))
          .status()));
}

TEST(RoutingAnalysisTest, NothingIsSpecialWhereNothingIsFrequent) {
  const RoutingRecord record = Random({"a", "b", "c"}, {0, 1}, 2, 30, 1);
  const auto none = Vocabulary(record, VocabularyKey::kInput, 1000, 3);
  EXPECT_EQ(none.ids, 0);
  EXPECT_THAT(none.first_choice, ElementsAre(0, 0));
  EXPECT_EQ(ImportanceOverlap({1, 2, 3}, {3, 2, 1}, 0.01), 0);
  EXPECT_EQ(ImportanceOverlap({1, 2, 3}, {3, 2, 1}, 1), 1);
}

}  // namespace
}  // namespace tributary::coordinator

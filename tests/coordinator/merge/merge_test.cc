#include "coordinator/merge/merge.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <random>

#include "common/model_format/parameter_names.h"
#include "tests/coordinator/merge/merge_fixture.h"

namespace tributary::coordinator {
namespace {

using MergeTest = MergeFixture;

TEST_F(MergeTest, IsAFunctionOfTheSetAlone) {
  std::vector<MergeExpert> experts = {Make("a", 1), Make("b", 2), Make("c", 3),
                                      Make("a-2", 4)};
  const auto first = Run(experts, "r0");
  ASSERT_TRUE(first.ok()) << first.status();
  std::vector<std::string> order;
  for (const auto& expert : first->experts) {
    order.push_back(expert.contribution);
  }
  EXPECT_THAT(order, testing::ElementsAre("a", "a-2", "b", "c"));
  const auto by_name = [](const MergeExpert& a, const MergeExpert& b) {
    return a.contribution() < b.contribution();
  };
  std::sort(experts.begin(), experts.end(), by_name);
  do {
    const auto again = Run(experts, "r1");
    ASSERT_TRUE(again.ok());
    EXPECT_EQ(*again->ToJson(), *first->ToJson());
    EXPECT_EQ(Bytes("r1"), Bytes("r0"));
  } while (std::next_permutation(experts.begin(), experts.end(), by_name));
}

TEST_F(MergeTest, WithdrawnMeansNeverHad) {
  const auto never = Run({Make("a", 1), Make("c", 3)}, "never");
  const auto all = Run({Make("a", 1), Make("b", 2), Make("c", 3)}, "all");
  ASSERT_TRUE(all.ok());
  const auto without = Run({Make("c", 3), Make("a", 1)}, "without");
  EXPECT_EQ(*without->Digest(), *never->Digest());
  EXPECT_NE(*all->Digest(), *never->Digest());
  EXPECT_EQ(Bytes("without"), Bytes("never"));
}

TEST_F(MergeTest, RouterRowsAreThePublicZerosThenTheExpertsBytes) {
  const auto release = Run({Make("b", 2.5f), Make("a", 1.25f, 256)}, "router");
  ASSERT_TRUE(release.ok()) << release.status();
  EXPECT_EQ(release->experts[0].widths, (std::vector<int64_t>{0, 0, 256}));
  const auto file = safetensors::File::Open(Path("router"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->tensors().size(), 2u * kLayers);
  for (int64_t l = 0; l < kLayers; ++l) {
    EXPECT_THAT(*(*file)->ReadFloats(model_format::RouterWeight(l)),
                testing::ElementsAre(0, 0, 0, 0, 1.25, 1.25, 1.25, 1.25, 2.5,
                                     2.5, 2.5, 2.5));
    EXPECT_THAT(*(*file)->ReadFloats(model_format::RouterBias(l)),
                testing::ElementsAre(0, 1.25, 2.5));
  }
  EXPECT_EQ(release->router_blob.sha256, crypto::Sha256Hex(Bytes("router")));
}

TEST_F(MergeTest, AnySequenceOfChangesGivesTheBytesOfTheSet) {
  // Random sets of random widths, reached by adding and removing in random
  // order, from files and from the release before.
  std::mt19937 random(7);
  const std::vector<int64_t> choices = {0, 128, 256, 384};
  std::vector<MergeExpert> pool;
  for (unsigned i = 0; i < 12; ++i) {
    std::vector<int64_t> widths(kLayers);
    for (int64_t& width : widths) {
      width = choices[random() % choices.size()];
    }
    const std::string name =
        "e" + std::to_string(random() % 1000) + "-x" + std::string(i, 'y');
    const auto expert =
        MergeExpertOf(MakeManifest(name, widths, std::nullopt, i), Path(name));
    ASSERT_TRUE(expert.ok()) << expert.status();
    pool.push_back(*expert);
  }
  for (int trial = 0; trial < 20; ++trial) {
    std::shuffle(pool.begin(), pool.end(), random);
    const size_t wanted = random() % pool.size();
    const auto direct =
        Run({pool.begin(), pool.begin() + static_cast<long>(wanted)}, "direct");
    ASSERT_TRUE(direct.ok()) << direct.status();
    // Everything first, then one after the other leaves.
    std::vector<MergeExpert> all = pool;
    std::shuffle(all.begin(), all.end(), random);
    auto release = Run(all, "step");
    ASSERT_TRUE(release.ok()) << release.status();
    for (size_t i = wanted; i < pool.size(); ++i) {
      auto plan = PlanOfRelease(*release, Path("step"));
      ASSERT_TRUE(plan.ok()) << plan.status();
      std::erase_if(plan->experts, [&](const MergeExpert& expert) {
        return expert.contribution() == pool[i].contribution();
      });
      release = Merge(*std::move(plan), Path("next"));
      ASSERT_TRUE(release.ok()) << release.status();
      std::filesystem::rename(Path("next"), Path("step"));
    }
    EXPECT_EQ(*release->ToJson(), *direct->ToJson());
    EXPECT_EQ(Bytes("step"), Bytes("direct"));
    // One comes back from its file.
    auto plan = PlanOfRelease(*release, Path("step"));
    ASSERT_TRUE(plan.ok()) << plan.status();
    plan->experts.push_back(pool[wanted]);
    const auto grown = Merge(*std::move(plan), Path("grown"));
    const auto again =
        Run({pool.begin(), pool.begin() + static_cast<long>(wanted) + 1}, "r");
    ASSERT_TRUE(grown.ok() && again.ok()) << grown.status() << again.status();
    EXPECT_EQ(*grown->Digest(), *again->Digest());
  }
}

TEST_F(MergeTest, EntriesOfStoredManifestsAreThoseOfParsedOnes) {
  const auto manifest = MakeManifest("a", {0, 128, 256});
  const auto parsed = MergeExpertOf(manifest, Path("a"));
  const auto read =
      MergeExpertOfJson(*manifest.ToJson(), *manifest.Digest(), Path("a"));
  ASSERT_TRUE(parsed.ok() && read.ok()) << parsed.status() << read.status();
  EXPECT_EQ(read->entry, parsed->entry);
  EXPECT_EQ(read->anchor_digest, parsed->anchor_digest);
  EXPECT_EQ(std::get<RowsInExpertFile>(read->rows).router_digest,
            manifest.router_digest);
  EXPECT_TRUE(absl::IsInvalidArgument(
      MergeExpertOfJson(*manifest.ToJson(), crypto::Sha256Hex("x"), Path("a"))
          .status()));
  const std::string bare = "{\"contribution\":\"a\"}";
  EXPECT_TRUE(absl::IsInvalidArgument(
      MergeExpertOfJson(bare, crypto::Sha256Hex(bare), Path("a")).status()));
}

TEST_F(MergeTest, ReadsNoByteOfTheMatrices) {
  // A file whose matrices are a hole gives the same rows.
  const auto expert = MergeExpertOf(MakeManifest("a", {0, 256, 0}), Path("a"));
  ASSERT_TRUE(Run({*expert}, "before").ok());
  const auto file = safetensors::File::Open(Path("a"));
  std::string bytes = Bytes("a");
  for (const auto& tensor : (*file)->tensors()) {
    if (tensor.name.find("proj") != std::string::npos) {
      std::fill_n(bytes.begin() +
                      static_cast<long>((*file)->data_begin() + tensor.begin),
                  tensor.bytes(), '\0');
    }
  }
  ASSERT_TRUE(WriteFileAtomic(Path("a"), bytes).ok());
  ASSERT_TRUE(Run({*expert}, "after").ok());
  EXPECT_EQ(Bytes("after"), Bytes("before"));
}

TEST_F(MergeTest, FindsTheRowsBehindFactors) {
  const auto manifest =
      MakeManifest("a", {128, 1024, 1024}, std::nullopt, 3, {0, 2, 0});
  EXPECT_EQ(manifest::RanksOf(manifest), (std::vector<int64_t>{0, 2, 0}));
  EXPECT_TRUE(manifest::RanksOf(MakeManifest("b", {0, 128, 0})).empty());
  const auto parsed = MergeExpertOf(manifest, Path("a"));
  const auto read =
      MergeExpertOfJson(*manifest.ToJson(), *manifest.Digest(), Path("a"));
  ASSERT_TRUE(parsed.ok() && read.ok()) << parsed.status() << read.status();
  EXPECT_EQ(std::get<RowsInExpertFile>(read->rows).ranks,
            std::get<RowsInExpertFile>(parsed->rows).ranks);
  for (const auto& expert : {*parsed, *read}) {
    const auto release = Run({expert}, "router");
    ASSERT_TRUE(release.ok()) << release.status();
    const auto file = *safetensors::File::Open(Path("a"));
    const auto router = *safetensors::File::Open(Path("router"));
    for (const int64_t l : {0, 1, 2}) {
      const auto rows = *router->ReadFloats(model_format::RouterWeight(l));
      EXPECT_EQ(std::vector<float>(rows.begin() + kHidden, rows.end()),
                *file->ReadFloats(model_format::RouterWeight(l)));
    }
  }
}

TEST_F(MergeTest, RefusesOtherAnchorsDuplicatesAndOtherFiles) {
  MergeExpert stale = Make("a", 1);
  stale.anchor_digest = crypto::Sha256Hex("other");
  EXPECT_TRUE(absl::IsInvalidArgument(Run({stale}, "r").status()));
  EXPECT_TRUE(
      absl::IsInvalidArgument(Run({Make("a", 1), Make("a", 1)}, "r").status()));
  // Rows that were altered, a file that was cut, one that is gone.
  const MergeExpert expert = Make("a", 1);
  std::string bytes = Bytes("a");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  ASSERT_TRUE(WriteFileAtomic(Path("a"), bytes).ok());
  Status status = Run({expert}, "r").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("digest"));
  bytes.pop_back();
  ASSERT_TRUE(WriteFileAtomic(Path("a"), bytes).ok());
  status = Run({expert}, "r").status();
  EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
  std::filesystem::remove(Path("a"));
  EXPECT_TRUE(absl::IsNotFound(Run({expert}, "r").status()));
  EXPECT_FALSE(std::filesystem::exists(Path("r")));
}

TEST_F(MergeTest, RefusesFewerExpertsThanATokenChooses) {
  anchor_.routing.top_k = 3;
  const Status status = Run({Make("a", 1)}, "r").status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("2 experts with the public one"));
  EXPECT_FALSE(std::filesystem::exists(Path("r")));
  EXPECT_TRUE(Run({Make("a", 1), Make("b", 2)}, "r").ok());
  // Without experts nothing routes.
  EXPECT_TRUE(Run({}, "none").ok());
}

TEST_F(MergeTest, RefusesARouterFileThatIsNotTheReleases) {
  const auto release = Run({Make("a", 1), Make("b", 2)}, "router");
  ASSERT_TRUE(release.ok());
  std::string bytes = Bytes("router");
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  ASSERT_TRUE(WriteFileAtomic(Path("router"), bytes).ok());
  EXPECT_TRUE(absl::IsInvalidArgument(
      PlanOfRelease(*release, Path("router")).status()));
}

TEST_F(MergeTest, AnchorsAreReadFromTheirFolder) {
  manifest::AnchorManifest anchor;
  anchor.name = "anchor";
  anchor.files = {{"config.json", {crypto::Sha256Hex("{}"), 2}}};
  anchor.model = {.model_type = "llama",
                  .num_layers = kLayers,
                  .hidden_size = kHidden,
                  .intermediate_size = 16,
                  .vocab_size = 10,
                  .block = 16};
  anchor.expert_policy = {.first_layer = 0,
                          .max_width = 16,
                          .top_k = 2,
                          .renormalise = true,
                          .window_tokens = 16,
                          .windows_per_class = 1,
                          .heldout_windows = 1,
                          .sample_stride = 1};
  const auto json = anchor.ToJson();
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_TRUE(absl::IsNotFound(
      ReadMergeAnchor(Path("anchor"), "discriminant").status()));
  ASSERT_TRUE(MakeDirectories(Path("anchor")).ok());
  ASSERT_TRUE(WriteFileAtomic(Path("anchor/anchor.json"), *json).ok());
  const auto read = ReadMergeAnchor(Path("anchor"), "discriminant");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->digest, *anchor.Digest());
  EXPECT_EQ(read->routing.top_k, 2);
}

}  // namespace
}  // namespace tributary::coordinator

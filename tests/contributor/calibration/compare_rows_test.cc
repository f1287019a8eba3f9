#include "contributor/calibration/compare_rows.h"

#include <optional>

#include "common/base/files.h"
#include "common/model_format/parameter_names.h"
#include "contributor/calibration/tensor_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::contributor {
namespace {

using at::Tensor;
using ::testing::HasSubstr;

class CompareRowsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_.emplace(*TemporaryDirectory::Create("tributary-rows-"));
    // Two tokens in layers 1 and 2; the router has a layer 0, too.
    const Tensor x = at::tensor({1.0F, 0.0F, 0.0F, 2.0F}).view({2, 2});
    ASSERT_TRUE(WriteTensors(Path("x"), {{"layers.1.x", x},
                                         {"layers.2.x", x.to(at::kBFloat16)}})
                    .ok());
    // Public, mine, other, third.
    const Tensor rows =
        at::tensor({1.0F, 0.0F, 5.0F, 5.0F, -3.0F, 0.0F, 0.0F, -4.0F})
            .view({4, 2});
    const Tensor bias = at::tensor({0.0F, 0.0F, 0.0F, 0.5F});
    NamedTensors tensors;
    for (int64_t l = 0; l < 3; ++l) {
      tensors.emplace_back(model_format::RouterWeight(l), rows);
      tensors.emplace_back(model_format::RouterBias(l), bias);
    }
    ASSERT_TRUE(WriteTensors(Path("router"), tensors).ok());
  }

  std::filesystem::path Path(const std::string& name) const {
    return directory_->path() / name;
  }

  CompareRowsOptions Options() const {
    return {.activations_path = Path("x"),
            .router_path = Path("router"),
            .contributions = {"mine", "other", "third"},
            .own = {"mine"}};
  }

  std::optional<TemporaryDirectory> directory_;
};

TEST_F(CompareRowsTest, LogitsAreRelativeToThePublicRow) {
  const auto found = CompareRows(Options());
  ASSERT_TRUE(found.ok()) << found.status();
  // Token 0: public 1, mine 5, other -3, third 0.5. Token 1: 0, 10, 0, -7.5.
  ASSERT_EQ(found->layers.size(), 2u);
  EXPECT_EQ(found->layers[0].layer, 1);
  EXPECT_NEAR(found->layers[0].mean_best_logit, (-0.5 + 0.0) / 2, 1e-6);
  EXPECT_NEAR(found->layers[0].mean_own_logit, (4.0 + 10.0) / 2, 1e-6);
  EXPECT_NEAR(*found->mean_best_logit, -0.25, 1e-6);
  ASSERT_EQ(found->rows.size(), 2u);
  EXPECT_EQ(found->rows[0].contribution, "other");
  EXPECT_NEAR(found->rows[0].mean_logit, (-4.0 + 0.0) / 2, 1e-6);
  EXPECT_NEAR(found->rows[1].mean_logit, (-0.5 - 7.5) / 2, 1e-6);
}

TEST_F(CompareRowsTest, NobodyElseIsNoWarning) {
  CompareRowsOptions options = Options();
  options.own = options.contributions;
  const auto found = CompareRows(options);
  ASSERT_TRUE(found.ok());
  EXPECT_FALSE(found->mean_best_logit.has_value());
  EXPECT_TRUE(found->rows.empty());
}

TEST_F(CompareRowsTest, RefusesARouterOfOtherExperts) {
  CompareRowsOptions options = Options();
  options.contributions.emplace_back("fourth");
  EXPECT_EQ(CompareRows(options).status().code(),
            absl::StatusCode::kInvalidArgument);
  options = Options();
  options.activations_path = Path("router");
  EXPECT_THAT(CompareRows(options).status().message(),
              HasSubstr("no activations"));
}

}  // namespace
}  // namespace tributary::contributor

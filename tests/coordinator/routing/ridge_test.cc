#include "coordinator/routing/ridge.h"

#include <limits>
#include <optional>

#include "common/base/files.h"
#include "common/model/tensor_io.h"
#include "common/model_format/parameter_names.h"
#include "coordinator/validation/router_statistics.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kLayers = 4;
constexpr int64_t kFirst = 2;  // layers below have no statistics
constexpr int64_t kHidden = 12;

class RidgeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_.emplace(*TemporaryDirectory::Create("tributary-ridge-"));
    at::manual_seed(1);
    model::NamedTensors tensors;
    for (int64_t l = kFirst; l < kLayers; ++l) {
      for (const char* name : {"prose", "python"}) {
        tensors.emplace_back(fmt::format("layers.{}.{}", l, name),
                             at::randn({50, kHidden}).to(at::kBFloat16));
      }
      tensors.emplace_back(fmt::format("layers.{}.importance", l),
                           at::ones({3}));
    }
    ASSERT_TRUE(model::WriteTensors(Path("public"), tensors).ok());
    for (const char* name : {"a", "b", "c"}) {
      WriteStatistics(name, 200);
    }
  }

  std::filesystem::path Path(const std::string& name) const {
    return directory_->path() / name;
  }

  // Statistics of random inputs about a centre of their own; keeps the inputs.
  void WriteStatistics(const std::string& name, int64_t tokens) {
    model::NamedTensors tensors = {
        {"tokens", at::scalar_tensor(tokens, at::kLong)}};
    for (int64_t l = kFirst; l < kLayers; ++l) {
      const Tensor x = at::randn({tokens, kHidden}, at::kDouble) +
                       at::randn({kHidden}, at::kDouble);
      inputs_[name].push_back(x);
      tensors.emplace_back(fmt::format("layers.{}.second_moment", l),
                           at::mm(x.t(), x));
      tensors.emplace_back(fmt::format("layers.{}.sum", l), x.sum(0));
    }
    Write(name, tensors);
  }

  void Write(const std::string& name, const model::NamedTensors& tensors) {
    ASSERT_TRUE(model::WriteTensors(Path(name), tensors).ok());
  }

  StatusOr<std::vector<RidgeLayer>> Solve(
      const std::vector<std::string>& contributions, const std::string& output,
      double lambda = 1e-3) const {
    RidgeOptions options = {.public_statistics_path = Path("public"),
                            .num_layers = kLayers,
                            .hidden_size = kHidden,
                            .lambda = lambda,
                            .temperature = 4,
                            .output_path = Path(output)};
    for (const std::string& name : contributions) {
      options.contributions.push_back({name, Path(name)});
    }
    return SolveRidge(options);
  }

  std::string Bytes(const std::string& name) const {
    return *ReadFile(Path(name), 1 << 20);
  }

  GateResult Check(const std::string& name) const {
    return CheckRouterStatistics(Path(name), kLayers, kHidden,
                                 **safetensors::File::Open(Path("public")), 8);
  }

  std::map<std::string, std::vector<Tensor>> inputs_;
  std::optional<TemporaryDirectory> directory_;
};

TEST_F(RidgeTest, RowsAreTheNormalisedSolutionRelativeToThePublicOne) {
  const auto layers = Solve({"a", "b"}, "router");
  ASSERT_TRUE(layers.ok()) << layers.status();
  ASSERT_EQ(layers->size(), 2u);
  const auto file = *safetensors::File::Open(Path("router"));
  const auto common = *safetensors::File::Open(Path("public"));
  for (int64_t l = kFirst; l < kLayers; ++l) {
    std::vector<Tensor> domains;
    domains.push_back(
        at::cat({*model::ReadTensor(*common, fmt::format("layers.{}.prose", l),
                                    at::kDouble),
                 *model::ReadTensor(*common, fmt::format("layers.{}.python", l),
                                    at::kDouble)}));
    domains.push_back(inputs_["a"][l - kFirst]);
    domains.push_back(inputs_["b"][l - kFirst]);
    Tensor a = at::zeros({kHidden + 1, kHidden + 1}, at::kDouble);
    std::vector<Tensor> targets;
    for (Tensor& x : domains) {
      x = at::cat({x, at::ones({x.size(0), 1}, at::kDouble)}, 1);
      a += at::mm(x.t(), x);
      targets.push_back(x.sum(0));
    }
    a.diagonal().add_(a.diagonal().mean() * 1e-3);
    Tensor w = at::linalg_solve(a, at::stack(targets, 1)).t();
    w = w / w.norm(2, {1}, true) / 4;
    w = w - w.select(0, 0).clone();
    const Tensor rows =
        *model::ReadTensor(*file, model_format::RouterWeight(l));
    const Tensor bias = *model::ReadTensor(*file, model_format::RouterBias(l));
    EXPECT_TRUE(at::allclose(rows.to(at::kDouble), w.narrow(1, 0, kHidden),
                             1e-4, 1e-5));
    EXPECT_TRUE(
        at::allclose(bias.to(at::kDouble), w.select(1, kHidden), 1e-4, 1e-5));
    EXPECT_EQ(rows.select(0, 0).count_nonzero().item<int64_t>(), 0);
    const double condition = (*layers)[l - kFirst].condition;
    EXPECT_GT(condition, 1);
    EXPECT_LT(condition, 1e6);
  }
  // Layers without statistics have rows of zeros, as a merge writes them.
  for (int64_t l = 0; l < kFirst; ++l) {
    const Tensor rows =
        *model::ReadTensor(*file, model_format::RouterWeight(l));
    EXPECT_THAT(rows.sizes(), ElementsAre(3, kHidden));
    EXPECT_EQ(rows.count_nonzero().item<int64_t>(), 0);
  }
}

TEST_F(RidgeTest, AnExpertThatLeftLeavesNoTrace) {
  ASSERT_TRUE(Solve({"a", "c"}, "never").ok());
  ASSERT_TRUE(Solve({"a", "b", "c"}, "all").ok());
  ASSERT_TRUE(Solve({"a", "c"}, "rebuilt").ok());
  EXPECT_EQ(Bytes("rebuilt"), Bytes("never"));
  EXPECT_NE(Bytes("all"), Bytes("never"));
}

TEST_F(RidgeTest, RefusesAnIllConditionedSolve) {
  // Three tokens span three of thirteen dimensions.
  WriteStatistics("few", 3);
  model::NamedTensors tensors;
  for (int64_t l = kFirst; l < kLayers; ++l) {
    tensors.emplace_back(fmt::format("layers.{}.prose", l),
                         at::ones({1, kHidden}).to(at::kBFloat16));
  }
  Write("public", tensors);
  const auto refused = Solve({"few"}, "router", 1e-30);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(refused.status().message(), HasSubstr("layer 2"));
  EXPECT_FALSE(std::filesystem::exists(Path("router")));
  EXPECT_TRUE(Solve({"few"}, "router", 1e-3).ok());
  const auto bound = Solve({"few"}, "bounded", 1e-14);
  EXPECT_EQ(bound.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(bound.status().message(), HasSubstr("condition number"));
}

TEST_F(RidgeTest, TheGateTakesWhatATextGives) {
  const GateResult gate = Check("a");
  EXPECT_TRUE(gate.passed) << gate.detail;
  WriteStatistics("few", 3);
  EXPECT_TRUE(Check("few").passed) << Check("few").detail;
}

TEST_F(RidgeTest, TheGateRefusesWhatNoTextGives) {
  const Tensor good = at::eye(kHidden, at::kDouble) * 100;
  const Tensor zero = at::zeros({kHidden}, at::kDouble);
  const auto write = [&](const Tensor& moment, const Tensor& sum,
                         int64_t tokens, int64_t first = kFirst) {
    model::NamedTensors tensors = {
        {"tokens", at::scalar_tensor(tokens, at::kLong)}};
    for (int64_t l = first; l < kLayers; ++l) {
      tensors.emplace_back(fmt::format("layers.{}.second_moment", l), moment);
      tensors.emplace_back(fmt::format("layers.{}.sum", l), sum);
    }
    Write("bad", tensors);
    return Check("bad");
  };
  EXPECT_TRUE(write(good, zero, 100).passed) << Check("bad").detail;
  EXPECT_THAT(write(good, zero, 0).detail, HasSubstr("tokens"));
  EXPECT_THAT(write(good, zero, 1).detail, HasSubstr("mean square"));
  EXPECT_THAT(write(good, zero, 100, kFirst + 1).detail, HasSubstr("begin in"));
  EXPECT_THAT(write(good.to(at::kFloat), zero, 100).detail,
              HasSubstr("another type"));
  EXPECT_THAT(write(good, at::zeros({kHidden + 1}, at::kDouble), 100).detail,
              HasSubstr("another type or shape"));
  EXPECT_THAT(
      write(good, zero + std::numeric_limits<double>::infinity(), 100).detail,
      HasSubstr("not finite"));
  Tensor lopsided = good.clone();
  lopsided[0][1] = 1;
  EXPECT_THAT(write(lopsided, zero, 100).detail, HasSubstr("symmetric"));
  Tensor indefinite = good.clone();
  indefinite[0][1] = indefinite[1][0] = 500;
  EXPECT_THAT(write(indefinite, zero, 100).detail, HasSubstr("any text"));
  EXPECT_THAT(write(good, zero + 1000, 100).detail, HasSubstr("any text"));
  model::NamedTensors more = {{"tokens", at::scalar_tensor(1, at::kLong)},
                              {"layers.3.second_moment", good},
                              {"layers.3.sum", zero},
                              {"text", at::ones({4}).to(at::kByte)}};
  Write("bad", more);
  EXPECT_THAT(Check("bad").detail, HasSubstr("4 tensors"));
}

}  // namespace
}  // namespace tributary::coordinator

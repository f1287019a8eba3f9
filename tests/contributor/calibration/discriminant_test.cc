#include "contributor/calibration/discriminant.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "common/base/files.h"
#include "contributor/calibration/tensor_file.h"

namespace tributary::contributor {
namespace {

using at::Tensor;
using ::testing::HasSubstr;
using Class = ActivationSamples::Class;
using Kind = Class::Kind;

constexpr int64_t kWidth = 24;

// Classes that overlap, with one large and nearly constant direction as
// RMSNorm leaves it.
ActivationSamples MakeSamples() {
  at::manual_seed(11);
  ActivationSamples samples;
  std::vector<Tensor> parts;
  int64_t begin = 0;
  const struct {
    Kind kind;
    const char* name;
    int64_t tokens;
    int direction;
    double shift;
  } classes[] = {{Kind::kOwn, "x", 500, 1, 1.5},
                 {Kind::kProse, "prose", 300, 2, 1.0},
                 {Kind::kBackground, "background_0", 200, 3, 1.0},
                 {Kind::kBackground, "background_1", 150, 4, -1.0}};
  const Tensor mixing =
      at::eye(kWidth) + 0.1 * at::randn({kWidth, kWidth}, at::kFloat);
  for (const auto& c : classes) {
    Tensor x = at::mm(at::randn({c.tokens, kWidth}), mixing);
    x.select(1, c.direction).add_(c.shift);
    x.select(1, 0).mul_(0.05).add_(8.0);
    parts.push_back(x);
    samples.classes.push_back({c.kind, c.name, begin, begin + c.tokens});
    begin += c.tokens;
  }
  samples.x_TD = at::cat(parts);
  return samples;
}

std::map<std::string, Tensor> Reference(const ActivationSamples& samples) {
  const auto folder = *TemporaryDirectory::Create("discriminant");
  NamedTensors tensors;
  for (const Class& c : samples.classes) {
    tensors.emplace_back(c.kind == Kind::kOwn ? "own" : c.name,
                         samples.x_TD.slice(0, c.begin, c.end));
  }
  EXPECT_TRUE(WriteTensors(folder.path() / "in.safetensors", tensors).ok());
  const std::string command =
      std::string(TRIBUTARY_PYTHON) + " " + TRIBUTARY_SOURCE_DIR +
      "/tests/contributor/calibration/discriminant_reference.py " +
      (folder.path() / "in.safetensors").string() + " " +
      (folder.path() / "out.safetensors").string();
  EXPECT_EQ(std::system(command.c_str()), 0);
  const auto file = OpenTensorFile(folder.path() / "out.safetensors");
  std::map<std::string, Tensor> result;
  for (const auto& info : (*file)->tensors()) {
    result[info.name] = MapTensor(*file, info.name)->clone();
  }
  return result;
}

double RelativeError(const Tensor& got, const Tensor& wanted) {
  return ((got.to(at::kDouble) - wanted).norm() / wanted.norm()).item<double>();
}

TEST(DiscriminantTest, AgreesWithNewtonInNumPy) {
  const ActivationSamples samples = MakeSamples();
  auto reference = Reference(samples);
  const auto fit = FitDiscriminant(samples, {.iterations = 200});
  ASSERT_TRUE(fit.ok()) << fit.status();
  EXPECT_LT(RelativeError(fit->unfolded.weight_D, reference["logistic"]), 1e-3);
  const double bias = reference["logistic_bias"].item<double>();
  EXPECT_NEAR(fit->unfolded.bias, bias, 2e-3 * std::abs(bias));
  EXPECT_NEAR(fit->objective, reference["objective"].item<double>(), 1e-7);
  EXPECT_LT(RelativeError(fit->folded.weight_D,
                          reference["logistic"] + bias * reference["fold"]),
            2e-3);
  EXPECT_EQ(fit->folded.bias, 0);

  // The usual number of iterations is close already.
  const auto usual = FitDiscriminant(samples, {});
  EXPECT_LT(usual->objective - fit->objective, 1e-5);

  const auto closed = FitDiscriminant(
      samples, {.method = DiscriminantOptions::Method::kClosedForm});
  ASSERT_TRUE(closed.ok()) << closed.status();
  EXPECT_LT(RelativeError(closed->folded.weight_D, reference["closed_form"]),
            1e-4);
  EXPECT_LT(closed->fold_error, 1e-6);
}

TEST(DiscriminantTest, MeasuresSharesAndFolding) {
  const ActivationSamples samples = MakeSamples();
  const auto fit = FitDiscriminant(samples, {});
  ASSERT_TRUE(fit.ok()) << fit.status();
  const Tensor share = at::sigmoid(at::mv(samples.x_TD, fit->folded.weight_D));
  EXPECT_NEAR(fit->own_share, share.slice(0, 0, 500).mean().item<double>(),
              1e-6);
  EXPECT_NEAR(fit->prose_share, share.slice(0, 500, 800).mean().item<double>(),
              1e-6);
  EXPECT_NEAR(
      fit->background_share,
      (share.slice(0, 800, 1000).mean() + share.slice(0, 1000, 1150).mean())
              .item<double>() /
          2,
      1e-6);
  const Tensor own = samples.x_TD.slice(0, 0, 500);
  const Tensor difference =
      at::mv(own, fit->folded.weight_D) -
      (at::mv(own, fit->unfolded.weight_D) + fit->unfolded.bias);
  EXPECT_NEAR(fit->fold_error, difference.square().mean().sqrt().item<double>(),
              1e-5);
  EXPECT_NEAR(fit->row_norm, fit->folded.weight_D.norm().item<double>(), 1e-6);
  EXPECT_GT(fit->own_share, 2 * fit->prose_share);
  EXPECT_LT(fit->fold_error, 0.3);
}

TEST(DiscriminantTest, WorksWithoutBackgroundOrWithoutProse) {
  ActivationSamples samples = MakeSamples();
  samples.classes.resize(2);
  const auto prose = FitDiscriminant(samples, {});
  ASSERT_TRUE(prose.ok()) << prose.status();
  EXPECT_EQ(prose->background_share, 0);
  samples = MakeSamples();
  samples.classes.erase(samples.classes.begin() + 1);
  const auto background = FitDiscriminant(samples, {});
  ASSERT_TRUE(background.ok()) << background.status();
  EXPECT_EQ(background->prose_share, 0);
}

TEST(DiscriminantTest, RefusesMissingClassesAndBadValues) {
  ActivationSamples samples = MakeSamples();
  samples.classes.resize(1);
  EXPECT_THAT(FitDiscriminant(samples, {}).status().message(),
              HasSubstr("got 1 own, 0 prose and 0 background"));
  samples = MakeSamples();
  samples.classes[2].end = samples.classes[2].begin;
  EXPECT_THAT(FitDiscriminant(samples, {}).status().message(),
              HasSubstr("background_0 has no activations"));
  samples = MakeSamples();
  samples.x_TD[3][2] = std::nan("");
  EXPECT_TRUE(absl::IsInvalidArgument(FitDiscriminant(samples, {}).status()));
  samples = MakeSamples();
  samples.x_TD[900][2] = std::numeric_limits<float>::infinity();
  EXPECT_TRUE(absl::IsInvalidArgument(FitDiscriminant(samples, {}).status()));
}

}  // namespace
}  // namespace tributary::contributor

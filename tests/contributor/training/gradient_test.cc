// Gradients of everything that is trained against a plain model in fp64: both
// families, unequal widths, a layer without an expert, one-token windows,
// packed documents, trained rows, both losses of distillation.

#include <gtest/gtest.h>

#include "common/kernels/head_loss.h"
#include "contributor/distillation/distillation_loss.h"
#include "contributor/training/trained_expert.h"
#include "contributor/training/trunk_windows.h"
#include "tests/contributor/training/plain_model.h"

namespace tributary::contributor {
namespace {

constexpr double kTolerance = 1e-4;  // relative, per tensor
constexpr double kZLoss = 0.1;       // large, so that its gradient shows

enum class Loss { kText, kTail, kRenormalised };

struct Case {
  const char* name;
  RandomModelOptions model;
  int64_t batch = 2;
  int64_t length = 11;
  bool packed = false;
  bool trained_rows = false;
  Loss loss = Loss::kText;
  int64_t first_layer = 0;
  int64_t prefix_width = 0;
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

// A teacher of random opinions about its 8 likeliest tokens.
TeacherTargets RandomTeacher(int64_t tokens, int64_t vocabulary) {
  const Tensor log_p = at::log_softmax(at::randn({tokens, vocabulary}), -1);
  const auto [values, ids] = at::topk(log_p, 8, 1);
  return {.ids_TJ = ids,
          .log_q_TJ = values,
          .log_tail_T =
              at::log1p(-values.to(at::kDouble).exp().sum(1)).to(at::kFloat)};
}

Tensor PlainLoss(const Case& c, const Tensor& hidden, const Tensor& head,
                 const Tensor& targets, const TeacherTargets& teacher) {
  const Tensor log_p = at::log_softmax(at::matmul(hidden, head.t()), -1);
  const Tensor ce = -log_p.gather(1, targets.unsqueeze(1)).mean();
  if (c.loss == Loss::kText) {
    return ce;
  }
  const Tensor kept = log_p.gather(1, teacher.ids_TJ);
  Tensor log_q = teacher.log_q_TJ.to(at::kDouble);
  if (c.loss == Loss::kRenormalised) {
    log_q = at::log_softmax(log_q, -1);
    return 0.5 * ce + 0.5 * (log_q.exp() * (log_q - kept)).sum(1).mean();
  }
  const Tensor log_tail = teacher.log_tail_T.to(at::kDouble);
  const Tensor rest = log_p.exp().scatter(1, teacher.ids_TJ, 0).sum(1).log();
  return 0.5 * ce + 0.5 * ((log_q.exp() * (log_q - kept)).sum(1) +
                           log_tail.exp() * (log_tail - rest))
                              .mean();
}

class GradientTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const Case& c = GetParam();
    lm_ = RandomModel(c.model);
    data_.ids_BS =
        at::randint(0, c.model.vocabulary, {c.batch, c.length}, at::kLong);
    data_.trunk_BSD = at::randn({c.batch, c.length, c.model.hidden});
    data_.first_layer = c.first_layer;
    if (c.packed) {
      // Documents of 1, 3 and the rest; then one of all but the last token.
      data_.documents_BS = at::zeros({c.batch, c.length}, at::kLong);
      data_.documents_BS[0].slice(0, 1, 4).fill_(1);
      data_.documents_BS[0].slice(0, 4).fill_(2);
      data_.documents_BS[1][c.length - 1] = 1;
    }
    std::vector<int64_t> windows;
    for (int64_t w = 0; w < c.batch; ++w) {
      windows.push_back(c.batch - 1 - w);
    }
    batch_ = TakeBatch(data_, windows, at::kCPU);
    teacher_ = RandomTeacher(batch_.targets_T.numel(), c.model.vocabulary);
    auto trained = TrainedExpert::Create(
        lm_, {.trained = c.trained_rows, .bias = c.trained_rows});
    ASSERT_TRUE(trained.ok()) << trained.status();
    trained_ = *std::move(trained);
  }

  // The loss with z-loss, its backward run.
  Tensor Backward(bool recompute) {
    const Case& c = GetParam();
    const TrainedHidden hidden =
        TrainedHiddenOfBatch(lm_, c.first_layer, batch_,
                             {.recompute_activations = recompute,
                              .prefix_width = c.prefix_width,
                              .rows = trained_->rows()});
    Tensor loss;
    if (c.loss == Loss::kText) {
      loss =
          kernels::HeadLogLoss(hidden.hidden_TD, lm_.head_VD, batch_.targets_T)
              .mean();
    } else {
      loss = DistillationLoss(
          hidden.hidden_TD, lm_.head_VD, batch_.targets_T, teacher_,
          {.form = c.loss == Loss::kTail ? DistillationForm::kTail
                                         : DistillationForm::kRenormalised});
    }
    if (c.trained_rows) {
      loss = loss + hidden.z_loss * kZLoss;
    } else {
      EXPECT_FALSE(hidden.z_loss.defined());
    }
    loss.backward();
    return loss.detach();
  }

  std::vector<Tensor> TakeGradients() {
    std::vector<Tensor> gradients;
    for (const auto& [name, leaf] : trained_->leaves()) {
      EXPECT_TRUE(leaf.grad().defined()) << name;
      gradients.push_back(leaf.grad());
      leaf.mutable_grad().reset();
    }
    return gradients;
  }

  model::CausalLm lm_;
  TrunkWindows data_;
  WindowBatch batch_;
  TeacherTargets teacher_;
  std::unique_ptr<TrainedExpert> trained_;
};

TEST_P(GradientTest, EveryGradientAgreesWithPlainAutogradInDouble) {
  const Case& c = GetParam();
  const Tensor loss = Backward(/*recompute=*/false);
  const std::vector<Tensor> got = TakeGradients();

  // Leaves in the order of TrainedExpert: matrices, then rows and biases.
  std::vector<PlainLayer> plain(lm_.num_layers());
  std::vector<Tensor> matrices, rows;
  for (int64_t l = 0; l < lm_.num_layers(); ++l) {
    const auto& layer = lm_.layers[l];
    plain[l].row_D = Double(layer.router_ED[1]).clone();
    if (!layer.experts[1]) {
      continue;
    }
    const auto leaf = [](const Tensor& tensor) {
      return Double(tensor).clone().requires_grad_();
    };
    plain[l].expert = model::Ffn{.gate_FD = leaf(layer.experts[1]->gate_FD),
                                 .up_FD = leaf(layer.experts[1]->up_FD),
                                 .down_DF = leaf(layer.experts[1]->down_DF)};
    model::Ffn& expert = *plain[l].expert;
    matrices.insert(matrices.end(),
                    {expert.gate_FD, expert.up_FD, expert.down_DF});
    if (c.prefix_width > 0) {
      const int64_t width = std::min(c.prefix_width, expert.width());
      expert = {.gate_FD = expert.gate_FD.narrow(0, 0, width),
                .up_FD = expert.up_FD.narrow(0, 0, width),
                .down_DF = expert.down_DF.narrow(1, 0, width)};
    }
    if (c.trained_rows) {
      plain[l].row_D.requires_grad_();
      plain[l].bias_1 = at::zeros({1}, at::kDouble).requires_grad_();
      rows.insert(rows.end(), {plain[l].row_D, plain[l].bias_1});
    }
  }
  matrices.insert(matrices.end(), rows.begin(), rows.end());

  Tensor z_loss;
  const Tensor hidden =
      PlainModel(lm_, batch_.documents_BS)
          .Run(Double(batch_.trunk_BSD), c.first_layer, plain, &z_loss);
  Tensor states =
      hidden.narrow(1, 0, c.length - 1).reshape({-1, hidden.size(2)});
  if (c.packed) {
    states = states.index_select(0, batch_.positions_T);
  }
  Tensor wanted =
      PlainLoss(c, states, Double(lm_.head_VD), batch_.targets_T, teacher_);
  if (c.trained_rows) {
    wanted = wanted + z_loss * kZLoss;
  }
  wanted.backward();

  EXPECT_NEAR(loss.item<double>(), wanted.item<double>(),
              1e-5 * (1 + std::abs(wanted.item<double>())));
  ASSERT_EQ(got.size(), matrices.size());
  for (size_t i = 0; i < got.size(); ++i) {
    const Tensor gradient = matrices[i].grad();
    ASSERT_TRUE(gradient.defined());
    const double norm = gradient.norm().item<double>();
    ASSERT_GT(norm, 0) << trained_->leaves()[i].first;
    EXPECT_LT((Double(got[i]) - gradient).norm().item<double>(),
              kTolerance * norm)
        << trained_->leaves()[i].first;
  }
  // Nothing else has a gradient.
  for (const model::DecoderLayer& layer : lm_.layers) {
    for (const Tensor& frozen : {layer.ffn.gate_FD, layer.ffn.down_DF,
                                 layer.q_proj_HD, layer.router_ED}) {
      EXPECT_FALSE(frozen.requires_grad());
      EXPECT_FALSE(frozen.grad().defined());
    }
  }
}

TEST_P(GradientTest, RecomputationGivesTheSameBits) {
  const Tensor loss = Backward(/*recompute=*/false);
  const std::vector<Tensor> kept = TakeGradients();
  EXPECT_TRUE(at::equal(Backward(/*recompute=*/true), loss));
  const std::vector<Tensor> again = TakeGradients();
  for (size_t i = 0; i < kept.size(); ++i) {
    EXPECT_TRUE(at::equal(kept[i], again[i])) << trained_->leaves()[i].first;
  }
}

RandomModelOptions Llama(std::vector<int64_t> widths) {
  return {.widths = std::move(widths)};
}
RandomModelOptions Olmo2(std::vector<int64_t> widths) {
  return {.post_norm = true, .widths = std::move(widths)};
}

INSTANTIATE_TEST_SUITE_P(
    Cases, GradientTest,
    ::testing::Values(
        Case{.name = "llama", .model = Llama({48, 24, 16})},
        Case{.name = "llama_mha",
             .model = {.num_kv_heads = 4, .widths = {16, 40}}},
        Case{.name = "llama_empty_layer", .model = Llama({16, 0, 40})},
        Case{.name = "llama_first_layer",
             .model = Llama({0, 24, 16}),
             .first_layer = 1},
        Case{.name = "llama_one_token",
             .model = Llama({24, 8}),
             .batch = 1,
             .length = 2},
        Case{.name = "llama_packed", .model = Llama({24, 16}), .packed = true},
        Case{.name = "llama_rows",
             .model = Llama({24, 0, 16}),
             .trained_rows = true},
        Case{.name = "llama_prefix",
             .model = Llama({48, 24, 8}),
             .prefix_width = 16},
        Case{
            .name = "llama_tail", .model = Llama({24, 8}), .loss = Loss::kTail},
        Case{.name = "llama_renormalised",
             .model = Llama({24, 8}),
             .loss = Loss::kRenormalised},
        Case{.name = "olmo2", .model = Olmo2({48, 24, 16})},
        Case{.name = "olmo2_empty_layer", .model = Olmo2({16, 0, 40})},
        Case{.name = "olmo2_one_token",
             .model = Olmo2({24, 8}),
             .batch = 1,
             .length = 2},
        Case{.name = "olmo2_packed", .model = Olmo2({24, 16}), .packed = true},
        Case{.name = "olmo2_rows",
             .model = Olmo2({24, 16}),
             .trained_rows = true},
        Case{.name = "olmo2_tail",
             .model = Olmo2({24, 8}),
             .trained_rows = true,
             .loss = Loss::kTail},
        Case{.name = "olmo2_renormalised_packed_prefix",
             .model = Olmo2({24, 0, 40}),
             .packed = true,
             .loss = Loss::kRenormalised,
             .prefix_width = 32}),
    [](const auto& info) { return std::string(info.param.name); });

// What an expert's matrices of one layer get when no token reaches them but
// one: a row of the router that shuts the expert for all others.
TEST(OneTokenExpertTest, GradientComesFromThatTokenAlone) {
  model::CausalLm lm = RandomModel({.widths = {24}});
  const Tensor x = at::randn({1, 9, 32});
  // The row points at token 4's state behind the norm, far from the others'.
  const auto& layer = lm.layers[0];
  const Tensor h =
      x + model::Attend(lm, 0, model::Norm(lm.config, x, layer.input_norm_D),
                        kernels::MakeRopeTable(lm.rope_frequencies, 0, 9),
                        nullptr);
  const Tensor n = model::Norm(lm.config, h, layer.post_attention_norm_D)[0];
  // Least squares: +60 on token 4, -60 on the others.
  Tensor wanted = at::full({9}, -60.0);
  wanted[4] = 60.0;
  const Tensor row = at::matmul(at::linalg_pinv(n), wanted);
  lm.layers[0].router_ED = at::stack({at::zeros({32}), row});
  auto trained = TrainedExpert::Create(lm, {});
  ASSERT_TRUE(trained.ok());
  const TrainedPass pass = RunTrainedLayers(lm, x, 0, {});
  const Tensor direction = at::randn_like(pass.x_BSD);
  (pass.x_BSD * direction).sum().backward();
  const Tensor gradient = lm.layers[0].experts[1]->down_DF.grad();
  // d/d down = direction_4 outer the expert's inner state of token 4.
  const model::Ffn& expert = *lm.layers[0].experts[1];
  const at::NoGradGuard no_grad;
  const Tensor inner = at::silu(at::matmul(expert.gate_FD, n[4])) *
                       at::matmul(expert.up_FD, n[4]);
  const Tensor plain = at::outer(direction[0][4], inner);
  EXPECT_LT((gradient - plain).norm().item<double>(),
            kTolerance * plain.norm().item<double>());
}

}  // namespace
}  // namespace tributary::contributor

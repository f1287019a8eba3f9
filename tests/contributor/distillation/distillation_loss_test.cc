#include "contributor/distillation/distillation_loss.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tributary::contributor {
namespace {

using at::Tensor;

// The loss from its definition, with full tensors and autograd.
Tensor PlainLoss(const Tensor& hidden, const Tensor& head,
                 const Tensor& targets, const TeacherTargets& teacher,
                 const DistillationOptions& options) {
  const Tensor log_p =
      at::log_softmax(at::matmul(hidden, head.to(at::kDouble).t()), -1);
  const Tensor ce = -log_p.gather(1, targets.unsqueeze(1)).mean();
  const Tensor kept = log_p.gather(1, teacher.ids_TJ);
  Tensor log_q = teacher.log_q_TJ.to(at::kDouble);
  Tensor kl;
  if (options.form == DistillationForm::kRenormalised) {
    log_q = at::log_softmax(log_q, -1);
    kl = (log_q.exp() * (log_q - kept)).sum(1).mean();
  } else {
    const Tensor log_tail = teacher.log_tail_T.to(at::kDouble);
    const Tensor rest = log_p.exp().scatter(1, teacher.ids_TJ, 0).sum(1).log();
    kl = ((log_q.exp() * (log_q - kept)).sum(1) +
          log_tail.exp() * (log_tail - rest))
             .mean();
  }
  return ce * options.text_share + kl * (1 - options.text_share);
}

struct Case {
  DistillationForm form;
  double text_share;
  double scale;  // of the logits: peaked distributions are harder
};

class DistillationLossTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    at::manual_seed(3);
    constexpr int64_t kTokens = 37, kWidth = 24, kVocabulary = 301, kKept = 16;
    hidden_ = at::randn({kTokens, kWidth}) * GetParam().scale;
    head_ = at::randn({kVocabulary, kWidth});
    targets_ = at::randint(0, kVocabulary, {kTokens}, at::kLong);
    const Tensor teacher = at::log_softmax(
        at::matmul(at::randn({kTokens, kWidth}) * GetParam().scale, head_.t()),
        -1);
    const auto [values, ids] = at::topk(teacher, kKept, 1);
    // The target is among the kept tokens of some rows and not of others.
    targets_.slice(0, 0, 10).copy_(ids.slice(0, 0, 10).select(1, 2));
    teacher_ = {
        .ids_TJ = ids,
        .log_q_TJ = values,
        .log_tail_T =
            at::log1p(-values.to(at::kDouble).exp().sum(1)).to(at::kFloat)};
    options_ = {.form = GetParam().form, .text_share = GetParam().text_share};
  }

  Tensor hidden_, head_, targets_;
  TeacherTargets teacher_;
  DistillationOptions options_;
};

TEST_P(DistillationLossTest, ValueAndGradientAgreeWithAutogradInDouble) {
  Tensor plain = hidden_.to(at::kDouble).requires_grad_();
  const Tensor wanted = PlainLoss(plain, head_, targets_, teacher_, options_);
  wanted.backward();
  const double norm = plain.grad().norm().item<double>();
  // The loops (fp32) and the operators (fp64).
  for (const auto& [type, tolerance] :
       {std::pair{at::kFloat, 3e-5}, {at::kDouble, 1e-6}}) {
    Tensor hidden = hidden_.to(type, false, /*copy=*/true).requires_grad_();
    const Tensor loss =
        DistillationLoss(hidden, head_, targets_, teacher_, options_);
    EXPECT_NEAR(loss.item<double>(), wanted.item<double>(),
                tolerance * (1 + std::abs(wanted.item<double>())));
    (loss * 3).backward();
    EXPECT_LT((hidden.grad().to(at::kDouble) / 3 - plain.grad())
                  .norm()
                  .item<double>(),
              tolerance * norm)
        << type;
    // Without gradients the value is the same.
    EXPECT_EQ(
        DistillationLoss(hidden.detach(), head_, targets_, teacher_, options_)
            .item<double>(),
        loss.item<double>());
  }
}

INSTANTIATE_TEST_SUITE_P(
    Forms, DistillationLossTest,
    ::testing::Values(Case{DistillationForm::kTail, 0.5, 0.3},
                      Case{DistillationForm::kTail, 0.0, 0.3},
                      Case{DistillationForm::kTail, 1.0, 0.3},
                      Case{DistillationForm::kTail, 0.25, 1.0},
                      Case{DistillationForm::kRenormalised, 0.5, 0.3},
                      Case{DistillationForm::kRenormalised, 0.0, 1.0}));

TEST(DistillationLossTest, IsZeroForTheTeacherItself) {
  at::manual_seed(4);
  const Tensor hidden = at::randn({5, 8});
  const Tensor head = at::randn({64, 8});
  const Tensor log_p = at::log_softmax(at::matmul(hidden, head.t()), -1);
  const auto [values, ids] = at::topk(log_p, 8, 1);
  const TeacherTargets teacher = {
      .ids_TJ = ids,
      .log_q_TJ = values,
      .log_tail_T = at::log1p(-values.exp().sum(1))};
  const Tensor student = hidden.clone().requires_grad_();
  const Tensor loss = DistillationLoss(student, head, at::zeros({5}, at::kLong),
                                       teacher, {.text_share = 0});
  loss.backward();
  EXPECT_NEAR(loss.item<double>(), 0, 1e-6);
  EXPECT_LT(student.grad().norm().item<double>(), 1e-5);
}

// More logits than one chunk holds, and a tail that underflows.
TEST(DistillationLossTest, ChunksAndExtremesAreFinite) {
  at::manual_seed(5);
  constexpr int64_t kVocabulary = 1 << 19;
  const Tensor hidden = (at::randn({40, 4}) * 30).requires_grad_();
  const Tensor head = at::randn({kVocabulary, 4});
  const Tensor ids = at::arange(0, 8).repeat({40, 1});
  const TeacherTargets teacher = {
      .ids_TJ = ids,
      .log_q_TJ = at::full({40, 8}, -std::log(16.0)),
      .log_tail_T = at::full({40}, std::log(0.5))};
  const Tensor targets = at::arange(0, 40) * 1000;
  const Tensor loss = DistillationLoss(hidden, head, targets, teacher, {});
  loss.backward();
  Tensor plain = hidden.detach().to(at::kDouble).requires_grad_();
  const Tensor wanted = PlainLoss(plain, head, targets, teacher, {});
  wanted.backward();
  EXPECT_NEAR(loss.item<double>(), wanted.item<double>(),
              1e-4 * wanted.item<double>());
  EXPECT_LT(((hidden.grad().to(at::kDouble) - plain.grad()).norm() /
             plain.grad().norm())
                .item<double>(),
            1e-4);

  // The student puts everything on the kept token.
  Tensor sure = at::full({1, 1}, 100.0f).requires_grad_();
  const Tensor peaked = at::tensor({10.0f, -10.0f, -10.0f}).view({3, 1});
  const Tensor extreme =
      DistillationLoss(sure, peaked, at::zeros({1}, at::kLong),
                       {.ids_TJ = at::zeros({1, 1}, at::kLong),
                        .log_q_TJ = at::full({1, 1}, std::log(0.5)),
                        .log_tail_T = at::full({1}, std::log(0.5))},
                       {});
  extreme.backward();
  EXPECT_TRUE(std::isfinite(extreme.item<double>()));
  EXPECT_TRUE(std::isfinite(sure.grad().item<double>()));
}

}  // namespace
}  // namespace tributary::contributor

// Losses at the head, with their gradients, against two bare head products.

#include <malloc.h>
#include <torch/torch.h>

#include <fstream>

#include "benchmark/benchmark.h"
#include "common/kernels/head_loss.h"
#include "contributor/distillation/distillation_loss.h"
#include "tests/benchmarks/interleave.h"
#include "tests/benchmarks/sgemm.h"

namespace tributary::benchmarks {
namespace {

using at::Tensor;

constexpr int64_t kTokens = 4096;
constexpr int64_t kHidden = 512;
constexpr int64_t kKept = 128;

// Bytes of the process in memory: now, and the most since the last reset.
double ResidentBytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  std::string word;
  double kibibytes = 0;
  while (status >> word) {
    if (word == field) {
      status >> kibibytes;
    }
  }
  return kibibytes * 1024;
}

// How much more memory than before `run` needs at its peak.
double PeakGrowth(const std::function<void()>& run) {
  malloc_trim(0);  // what others have freed must not hide what is needed
  std::ofstream("/proc/self/clear_refs") << "5";
  const double before = ResidentBytes("VmRSS:");
  run();
  return ResidentBytes("VmHWM:") - before;
}

struct Case {
  Tensor hidden;
  Tensor head;
  Tensor targets;
  contributor::TeacherTargets teacher;
};

Case MakeCase(int64_t vocabulary) {
  torch::manual_seed(1);
  Case made;
  made.hidden = at::randn({kTokens, kHidden});
  made.head = at::randn({vocabulary, kHidden}) * 0.05;
  made.targets = at::randint(vocabulary, {kTokens}, at::kLong);
  // Distinct ids per row: a stride that shares no factor with the vocabulary.
  const Tensor start = at::randint(vocabulary, {kTokens, 1}, at::kLong);
  made.teacher.ids_TJ =
      (start + at::arange(kKept, at::kLong).unsqueeze(0) * 61) % vocabulary;
  made.teacher.log_q_TJ =
      at::log_softmax(at::randn({kTokens, kKept}), -1) - 0.2;
  made.teacher.log_tail_T = at::full({kTokens}, std::log1p(-std::exp(-0.2)));
  return made;
}

// The loss and its gradient for hidden states, as a training step asks for it.
void RunLoss(const Case& c, int64_t form) {
  Tensor hidden = c.hidden.detach().set_requires_grad(true);
  Tensor loss;
  if (form == 0) {
    loss = kernels::HeadLogLoss(hidden, c.head, c.targets).mean();
  } else {
    loss = contributor::DistillationLoss(
        hidden, c.head, c.targets, c.teacher,
        {.form = form == 1 ? contributor::DistillationForm::kTail
                           : contributor::DistillationForm::kRenormalised,
         .text_share = 0});
  }
  loss.backward();
  benchmark::DoNotOptimize(hidden.grad().const_data_ptr());
}

// Argument 0: the text's loss; 1: KL with a tail bucket; 2: renormalised KL.
// Argument 1: the vocabulary.
void Head(benchmark::State& state) {
  const int64_t vocabulary = state.range(1);
  const Case c = MakeCase(vocabulary);
  const double growth = PeakGrowth([&] { RunLoss(c, state.range(0)); });
  // What any implementation returns: the gradient and its scaled copy.
  const auto results = static_cast<double>(2 * c.hidden.nbytes());
  state.counters["extra_bytes"] = growth - results;
  state.counters["logits_bytes"] =
      static_cast<double>(kTokens * vocabulary) * sizeof(float);
  // The products over a quarter of the rows: large enough to run at full speed.
  const auto forward = MakeSgemm(kTokens / 4, kHidden, vocabulary);
  const Tensor gradient = at::randn({kTokens / 4, vocabulary});
  Tensor out = at::empty({kTokens / 4, kHidden});
  RunInTurn(state, {{"loss", [&] { RunLoss(c, state.range(0)); }},
                    {"products", [&] {
                       for (int i = 0; i < 4; ++i) {
                         forward();
                         at::mm_out(out, gradient, c.head);
                       }
                     }}});
}
BENCHMARK(Head)
    ->ArgsProduct({{0, 1, 2}, {8192, 32768}})
    ->Iterations(kRounds)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tributary::benchmarks

// A calibrated forward pass against a plain one, and how calibration grows with
// the text. T tokens, D width, F channels.

#include <sys/resource.h>

#include <filesystem>

#include "benchmark/benchmark.h"
#include "common/base/files.h"
#include "common/model/attention.h"
#include "contributor/calibration/calibrate.h"
#include "contributor/calibration/forward_statistics.h"
#include "contributor/calibration/tensor_file.h"
#include "tests/benchmarks/interleave.h"

namespace tributary::benchmarks {
namespace {

using at::Tensor;
using contributor::CalibrateOptions;
using contributor::Formula;

// The shapes of a small real anchor.
constexpr int64_t kHidden = 576;
constexpr int64_t kChannels = 1536;
constexpr int64_t kHeads = 9;
constexpr int64_t kKvHeads = 3;
constexpr int64_t kHeadWidth = 64;
constexpr int64_t kWindows = 4;
constexpr int64_t kLength = 256;

model::CausalLm MakeAnchor(int64_t layers, int64_t vocabulary) {
  at::manual_seed(1);
  model::CausalLm lm;
  auto& c = lm.config;
  c.vocab_size = vocabulary;
  c.hidden_size = kHidden;
  c.intermediate_size = kChannels;
  c.num_layers = layers;
  c.num_heads = kHeads;
  c.num_kv_heads = kKvHeads;
  c.head_dim = kHeadWidth;
  c.rms_norm_eps = 1e-5;
  c.tie_word_embeddings = true;
  lm.rope_frequencies = model::RopeFrequencies(c);
  const auto matrix = [](int64_t rows, int64_t columns) {
    return at::randn({rows, columns}).mul_(0.02);
  };
  lm.embed_VD = lm.head_VD = matrix(vocabulary, kHidden);
  lm.final_norm_D = at::ones({kHidden});
  for (int64_t l = 0; l < layers; ++l) {
    model::DecoderLayer layer;
    layer.input_norm_D = at::ones({kHidden});
    layer.post_attention_norm_D = at::ones({kHidden});
    layer.q_proj_HD = matrix(kHeads * kHeadWidth, kHidden);
    layer.k_proj_HD = matrix(kKvHeads * kHeadWidth, kHidden);
    layer.v_proj_HD = matrix(kKvHeads * kHeadWidth, kHidden);
    layer.o_proj_DH = matrix(kHidden, kHeads * kHeadWidth);
    layer.ffn = {.gate_FD = matrix(kChannels, kHidden),
                 .up_FD = matrix(kChannels, kHidden),
                 .down_DF = matrix(kHidden, kChannels)};
    lm.layers.push_back(std::move(layer));
  }
  return lm;
}

// All layers of one batch; every one of them is scored. Without the head, which
// costs the same in all of them.
class Forward {
 public:
  Forward(const model::CausalLm& lm, std::vector<Formula> formulas,
          bool second_moments)
      : lm_(lm),
        x_(at::randn({kWindows, kLength, kHidden})),
        options_{.second_moments_path = second_moments ? "unused" : "",
                 .formulas = std::move(formulas)},
        sums_(contributor::EmptySums(lm, 0, options_.formulas)),
        statistics_(*contributor::ForwardStatistics::Create(
            lm, options_, kWindows * kLength, &sums_)) {}

  void Plain() const {
    const at::NoGradGuard no_grad;
    model::RunLayers(lm_, x_, 0, lm_.num_layers());
  }
  void Calibrated() const {
    const at::NoGradGuard no_grad;
    const model::Hooks hooks = statistics_->HooksFor(kWindows, 0);
    model::RunLayers(lm_, x_, 0, lm_.num_layers(), {.hooks = &hooks});
  }

 private:
  const model::CausalLm& lm_;
  const Tensor x_;
  const CalibrateOptions options_;
  contributor::ImportanceSums sums_;
  const std::unique_ptr<contributor::ForwardStatistics> statistics_;
};

void CalibratedForward(benchmark::State& state) {
  const model::CausalLm lm = MakeAnchor(8, 1024);
  const Forward importance(lm, {Formula::kWindowMean}, false);
  const Forward formulas(
      lm, {Formula::kWindowMean, Formula::kWanda, Formula::kReap}, false);
  const Forward moments(lm, {Formula::kWindowMean}, true);
  RunInTurn(state, {{"plain", [&] { importance.Plain(); }},
                    {"importance", [&] { importance.Calibrated(); }},
                    {"formulas", [&] { formulas.Calibrated(); }},
                    {"moments", [&] { moments.Calibrated(); }}});
}
BENCHMARK(CalibratedForward)
    ->Iterations(3 * kRounds)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

// Importance of range(0) windows from a file, all formulas of a forward pass.
void CalibrateText(benchmark::State& state) {
  const auto folder = *TemporaryDirectory::Create("bench-calibration");
  const model::CausalLm lm = MakeAnchor(2, 1024);
  const auto tokens = folder.path() / "tokens";
  (void)contributor::WriteTensors(
      tokens, {{"input_ids",
                at::randint(0, 1024, {state.range(0), kLength}, at::kLong)}});
  for ([[maybe_unused]] auto iteration : state) {
    const auto done = contributor::Calibrate(
        lm,
        {.tokens_path = tokens,
         .importance_path = folder.path() / "importance",
         .formulas = {Formula::kWindowMean, Formula::kWanda, Formula::kReap}},
        [](double) { return absl::OkStatus(); });
    if (!done.ok()) {
      state.SkipWithError(std::string(done.status().message()).c_str());
      break;
    }
  }
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  state.counters["tokens"] = static_cast<double>(state.range(0) * kLength);
  state.counters["peak_bytes"] = static_cast<double>(usage.ru_maxrss) * 1024;
}
BENCHMARK(CalibrateText)
    ->RangeMultiplier(2)
    ->Range(16, 256)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tributary::benchmarks

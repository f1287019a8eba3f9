// One training step of the 2-expert model: width 512, 4 layers, experts of
// 1376, 1024 tokens, top-128 KL; against the rate of products alone. T tokens,
// D width, V vocabulary.

#include <ATen/ops/_fused_adamw.h>
#include <malloc.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <string>

#include "benchmark/benchmark.h"
#include "common/model/attention.h"
#include "contributor/budget/training_memory.h"
#include "contributor/distillation/distillation_loss.h"
#include "contributor/training/adamw.h"
#include "contributor/training/trunk_windows.h"
#include "tests/benchmarks/interleave.h"
#include "tests/benchmarks/sgemm.h"

namespace tributary::benchmarks {
namespace {

using at::Tensor;
using namespace tributary::contributor;  // NOLINT: what is measured

constexpr int64_t kHidden = 512;
constexpr int64_t kLayers = 4;
constexpr int64_t kWidth = 1376;
constexpr int64_t kHeads = 8;
constexpr int64_t kWindows = 2;
constexpr int64_t kLength = 512;
constexpr int64_t kTokens = kWindows * kLength;
constexpr int64_t kSgemm = 2048;

enum class Trained { kExpert, kAll };

model::CausalLm MakeModel(int64_t vocabulary) {
  at::manual_seed(1);
  model::CausalLm lm;
  auto& c = lm.config;
  c.vocab_size = vocabulary;
  c.hidden_size = kHidden;
  c.intermediate_size = kWidth;
  c.num_layers = kLayers;
  c.num_heads = c.num_kv_heads = kHeads;
  c.head_dim = kHidden / kHeads;
  c.rms_norm_eps = 1e-5;
  c.tie_word_embeddings = true;
  lm.rope_frequencies = model::RopeFrequencies(c);
  const auto matrix = [](int64_t rows, int64_t columns) {
    return at::randn({rows, columns}).mul_(0.02);
  };
  const auto ffn = [&] {
    return model::Ffn{.gate_FD = matrix(kWidth, kHidden),
                      .up_FD = matrix(kWidth, kHidden),
                      .down_DF = matrix(kHidden, kWidth)};
  };
  lm.embed_VD = lm.head_VD = matrix(vocabulary, kHidden);
  lm.final_norm_D = at::ones({kHidden});
  for (int64_t l = 0; l < kLayers; ++l) {
    model::DecoderLayer layer;
    layer.input_norm_D = at::ones({kHidden});
    layer.post_attention_norm_D = at::ones({kHidden});
    layer.q_proj_HD = matrix(kHidden, kHidden);
    layer.k_proj_HD = matrix(kHidden, kHidden);
    layer.v_proj_HD = matrix(kHidden, kHidden);
    layer.o_proj_DH = matrix(kHidden, kHidden);
    layer.ffn = ffn();
    layer.experts.resize(2);
    layer.experts[1] = ffn();
    layer.router_ED = at::cat({at::zeros({1, kHidden}), matrix(1, kHidden)});
    lm.layers.push_back(std::move(layer));
  }
  return lm;
}

// Floating point operations of a step, without what no gradient needs. In the
// first layer nothing below the expert waits for one.
double StepFlops(int64_t vocabulary, Trained trained) {
  const auto d = static_cast<double>(kHidden);
  const double mlp = 6 * d * static_cast<double>(kWidth);
  const double projections = 8 * d * d;
  const double attention = 2 * d * static_cast<double>(kLength);  // causal
  const double forward = kLayers * (projections + attention + 2 * mlp);
  double backward = 0;
  for (int64_t l = 0; l < kLayers; ++l) {
    const bool all = trained == Trained::kAll;
    backward += mlp;  // weights of the expert
    if (all) {
      backward += mlp + projections;  // weights of the rest
    }
    if (l > 0) {
      backward += 2 * mlp + projections + 2 * attention;
    } else {
      backward += mlp / 3 * (all ? 2 : 1);  // down to the inner states
      // Through the attention, but not to the projections' input.
      backward += all ? 4 * mlp / 3 + projections / 4 + 2 * attention : 0;
    }
  }
  const double head = 4 * d * static_cast<double>(vocabulary);
  return static_cast<double>(kTokens) * (forward + backward + head);
}

class Step {
 public:
  Step(int64_t vocabulary, Trained trained)
      : lm_(std::make_unique<model::CausalLm>(MakeModel(vocabulary))) {
    at::manual_seed(2);
    data_.ids_BS = at::randint(0, vocabulary, {kWindows, kLength}, at::kLong);
    data_.trunk_BSD = at::randn({kWindows, kLength, kHidden});
    batch_ = TakeBatch(data_, {0, 1}, at::kCPU);
    const int64_t targets = batch_.targets_T.numel();
    const auto [values, ids] =
        at::topk(at::randn({targets, vocabulary}), 128, 1);
    teacher_ = {.ids_TJ = ids,
                .log_q_TJ = at::log_softmax(values, 1) + std::log(0.9),
                .log_tail_T = at::full({targets}, std::log(0.1))};
    for (model::DecoderLayer& layer : lm_->layers) {
      Take(*layer.experts[1]);
      if (trained == Trained::kAll) {
        Take(layer.ffn);
        for (Tensor* weight : {&layer.q_proj_HD, &layer.k_proj_HD,
                               &layer.v_proj_HD, &layer.o_proj_DH}) {
          leaves_.push_back(weight->requires_grad_());
        }
      }
    }
  }

  void Run() {
    if (!adamw_) {
      adamw_ = std::make_unique<AdamW>(leaves_, OptimizerOptions());
    }
    const at::AutoGradMode grad(true);
    const TrainedHidden hidden = TrainedHiddenOfBatch(*lm_, 0, batch_, {});
    const Tensor loss =
        DistillationLoss(hidden.hidden_TD, lm_->head_VD, batch_.targets_T,
                         teacher_, {.text_share = 0});
    loss.backward();
    adamw_->Step(1e-4);
  }

 private:
  void Take(model::Ffn& ffn) {
    for (Tensor* weight : {&ffn.gate_FD, &ffn.up_FD, &ffn.down_DF}) {
      leaves_.push_back(weight->requires_grad_());
    }
  }

  std::unique_ptr<model::CausalLm> lm_;
  TrunkWindows data_;
  WindowBatch batch_;
  TeacherTargets teacher_;
  std::vector<Tensor> leaves_;
  std::unique_ptr<AdamW> adamw_;
};

// Argument: vocabulary. "over_ideal" is the step over its operations at the
// rate of a large product.
void TrainingStep(benchmark::State& state) {
  const int64_t vocabulary = state.range(0);
  Step step(vocabulary, Trained::kExpert);
  step.Run();
  RunInTurn(state, {{"step", [&] { step.Run(); }},
                    {"sgemm", MakeSgemm(kSgemm, kSgemm, kSgemm)}});
  const double rate =
      ProductFlops(kSgemm, kSgemm, kSgemm) / state.counters["sgemm_s"];
  state.counters["over_ideal"] =
      state.counters["step_s"] /
      (StepFlops(vocabulary, Trained::kExpert) / rate);
}
BENCHMARK(TrainingStep)
    ->Arg(8192)
    ->Arg(32768)
    ->Iterations(kRounds)
    ->UseManualTime();

// What freezing saves over what it should: 1 is all of it.
void FrozenStep(benchmark::State& state) {
  constexpr int64_t kVocabulary = 8192;
  Step expert(kVocabulary, Trained::kExpert);
  Step all(kVocabulary, Trained::kAll);
  expert.Run();
  all.Run();
  RunInTurn(state,
            {{"expert", [&] { expert.Run(); }}, {"all", [&] { all.Run(); }}});
  state.counters["flop_ratio"] = StepFlops(kVocabulary, Trained::kExpert) /
                                 StepFlops(kVocabulary, Trained::kAll);
  state.counters["over_flop_ratio"] =
      state.counters["per_all"] / state.counters["flop_ratio"];
}
BENCHMARK(FrozenStep)->Iterations(kRounds)->UseManualTime();

// A field of this process's status, bytes.
int64_t StatusField(const std::string& field) {
  std::ifstream file("/proc/self/status");
  for (std::string word; file >> word;) {
    if (word == field + ":") {
      int64_t kibibytes = 0;
      file >> kibibytes;
      return kibibytes * 1024;
    }
  }
  return 0;
}

// Without pages of libraries and files, which come and go with first uses.
int64_t OwnBytes() { return StatusField("RssAnon"); }
int64_t OwnPeakBytes() { return StatusField("VmHWM") - StatusField("RssFile"); }

// In a process of its own: peak memory of three steps. "growth" is from model
// and data in memory on, "over_parts" the peak from the empty process on over
// weights, optimizer, activations and one chunk of logits.
void TrainingMemoryPeak(benchmark::State& state) {
  const int64_t vocabulary = state.range(0);
  // What libraries allocate once and keep belongs to the process.
  Step(vocabulary, Trained::kExpert).Run();
  malloc_trim(0);
  TrainingShape shape = {.hidden = kHidden,
                         .num_layers = kLayers,
                         .intermediate = kWidth,
                         .vocabulary = vocabulary,
                         .query_width = kHidden,
                         .kv_width = kHidden,
                         .num_heads = kHeads,
                         .tied_embeddings = true,
                         .widths = std::vector<int64_t>(kLayers, kWidth),
                         .window_tokens = kLength,
                         .windows_at_a_time = kWindows,
                         .windows_per_step = kWindows};
  const TrainingMemory parts = PredictTrainingMemory(shape);
  for ([[maybe_unused]] auto iteration : state) {
    const int64_t empty = OwnBytes();
    Step step(vocabulary, Trained::kExpert);
    malloc_trim(0);
    const int64_t before = OwnBytes();
    std::ofstream("/proc/self/clear_refs") << "5";  // forgets the peak
    for (int i = 0; i < 3; ++i) {
      step.Run();
    }
    const int64_t peak = OwnPeakBytes();
    state.counters["growth_mib"] =
        static_cast<double>(peak - before) / (1 << 20);
    state.counters["peak_mib"] = static_cast<double>(peak - empty) / (1 << 20);
    state.counters["over_parts"] =
        static_cast<double>(peak - empty) /
        static_cast<double>(parts.weights + parts.optimizer +
                            parts.activations + parts.logits);
    state.counters["over_prediction"] =
        static_cast<double>(peak - empty) /
        static_cast<double>(parts.peak - parts.process);
  }
}
BENCHMARK(TrainingMemoryPeak)->Arg(8192)->Arg(32768)->Iterations(1);

// AdamW on 50 M parameters in matrices of an expert's size. With clipping it
// reads the gradients once more; "update" is without that, as torch's kernel.
void Optimizer(benchmark::State& state) {
  std::vector<Tensor> parameters, gradients, first, second, counts;
  for (int64_t i = 0; i < 72; ++i) {
    parameters.push_back(at::randn({kWidth, kHidden}).mul_(0.02));
    gradients.push_back(at::randn({kWidth, kHidden}).mul_(1e-6));
    first.push_back(at::zeros({kWidth, kHidden}));
    second.push_back(at::zeros({kWidth, kHidden}));
    counts.push_back(at::ones({}));
    parameters.back().requires_grad_();
  }
  OptimizerOptions options;
  AdamW clipping(parameters, options);
  options.clip_norm = 0;
  AdamW ours(parameters, options);
  const auto step = [&](AdamW& adamw) {
    for (size_t i = 0; i < parameters.size(); ++i) {
      parameters[i].mutable_grad() = gradients[i];
    }
    adamw.Step(1e-5);
  };
  const auto fused = [&] {
    const at::NoGradGuard no_grad;
    at::_fused_adamw_(parameters, gradients, first, second, {}, counts, 1e-5,
                      0.9, 0.95, 0, 1e-8, false, false, std::nullopt,
                      std::nullopt);
  };
  RunInTurn(state, {{"update", [&] { step(ours); }},
                    {"fused", fused},
                    {"clipping", [&] { step(clipping); }}});
  const double count = 72.0 * kWidth * kHidden;
  state.counters["mparam_per_s"] = count / state.counters["update_s"] / 1e6;
}
BENCHMARK(Optimizer)->Iterations(kRounds)->UseManualTime();

}  // namespace
}  // namespace tributary::benchmarks

#include "contributor/budget/training_memory.h"

#include <algorithm>

#include "common/base/text.h"
#include "fmt/format.h"
#include "fmt/ranges.h"

namespace tributary::contributor {
namespace {

constexpr int64_t kFloat = 4;
// As the loss heads have it (HeadBlockColumns): logits held at a time.
constexpr int64_t kBlockElements = int64_t{8} << 20;
constexpr int64_t kFewestColumns = 512;
// Tokens of a forward pass over held-out windows.
constexpr int64_t kEvaluationTokens = 1024;
// Heap that is neither used nor given back, of what was allocated.
constexpr double kSlack = 0.12;
constexpr int64_t kTeacherTokens = 128;

std::string Human(int64_t bytes) {
  return HumanBytes(static_cast<uint64_t>(std::max<int64_t>(0, bytes)));
}

class Arithmetic {
 public:
  explicit Arithmetic(const TrainingShape& shape) : s_(shape) {}

  TrainingMemory Run() const {
    TrainingMemory m;
    m.process = kProcessBytes;
    const int64_t frozen = FrozenElements();
    const int64_t trained = TrainedElements();
    m.weights = frozen * s_.frozen_element_bytes + trained * kFloat;
    m.optimizer = 2 * trained * kFloat;
    m.gradients = trained * kFloat;
    m.logits = LogitsBytes(Tokens());
    m.working = Tokens() * (Widest() + 4 * s_.hidden) * kFloat;
    if (s_.frozen_element_bytes != kFloat) {
      // Matrices that are converted for one product.
      m.logits += s_.vocabulary * s_.hidden * kFloat;
      m.working += s_.hidden * s_.intermediate * kFloat;
    }
    m.data = DataBytes();
    m.loading = frozen * s_.stored_element_bytes;
    m.activations = ActivationBytes();
    const int64_t resident = m.weights + m.optimizer + m.data;
    const int64_t step = resident + StepBytes(m);
    const int64_t evaluation = resident + EvaluationBytes();
    // The optimizer comes after loading; a teacher is there with the weights.
    const int64_t teacher =
        s_.distils ? 3 * s_.hidden * s_.intermediate * Layers() * kFloat : 0;
    const int64_t loading = m.weights + m.loading + teacher;
    m.peak = m.process +
             static_cast<int64_t>(
                 static_cast<double>(std::max({step, evaluation, loading})) *
                 (1 + kSlack));
    return m;
  }

 private:
  int64_t Layers() const { return s_.num_layers - s_.first_layer; }
  int64_t Tokens() const { return s_.window_tokens * s_.windows_at_a_time; }
  int64_t WidthOf(int64_t layer) const {
    return layer < static_cast<int64_t>(s_.widths.size()) ? s_.widths[layer]
                                                          : 0;
  }
  int64_t Widest() const {
    int64_t widest = s_.intermediate;
    for (const int64_t width : s_.widths) {
      widest = std::max(widest, width);
    }
    return widest;
  }

  int64_t FrozenElements() const {
    const bool embedding = s_.first_layer == 0 && !s_.tied_embeddings;
    const int64_t head = s_.vocabulary * s_.hidden * (embedding ? 2 : 1);
    const int64_t layer = s_.hidden * (2 * s_.query_width + 2 * s_.kv_width) +
                          3 * s_.hidden * s_.intermediate;
    return head + Layers() * layer;
  }

  int64_t TrainedElements() const {
    int64_t elements = 0;
    for (int64_t l = s_.first_layer; l < s_.num_layers; ++l) {
      elements += 3 * s_.hidden * WidthOf(l);
    }
    return elements;
  }

  int64_t LogitsBytes(int64_t tokens) const {
    const int64_t columns =
        std::max(std::min(kFewestColumns, s_.vocabulary),
                 std::min(s_.vocabulary / 24,
                          kBlockElements / std::max<int64_t>(1, tokens)));
    return tokens * columns * kFloat;
  }

  // What a layer keeps per token. Attention: queries, keys, values, its output
  // and a number per head; with QK norm queries and keys before it too. Three
  // states of the model's width; the outputs of gate_proj and up_proj of both
  // FFNs.
  int64_t LayerBytes(int64_t layer) const {
    int64_t floats = 2 * s_.query_width + 2 * s_.kv_width + s_.num_heads +
                     3 * s_.hidden + 2 * (s_.intermediate + WidthOf(layer));
    if (s_.qk_norm) {
      floats += s_.query_width + s_.kv_width;
    }
    return floats * Tokens() * kFloat;
  }

  int64_t ActivationBytes() const {
    const int64_t ends = 4 * Tokens() * s_.hidden * kFloat;
    int64_t sum = 0, largest = 0;
    for (int64_t l = s_.first_layer; l < s_.num_layers; ++l) {
      sum += LayerBytes(l);
      largest = std::max(largest, LayerBytes(l));
    }
    if (s_.recompute_activations) {
      sum = Layers() * Tokens() * s_.hidden * kFloat + largest;
    }
    return sum + ends;
  }

  // The largest moment of forward and backward. With several micro-batches the
  // gradients of the earlier ones are there all the time; with one, those of a
  // layer appear as its activations go.
  int64_t StepBytes(const TrainingMemory& m) const {
    const int64_t transient = std::max(m.logits, m.working);
    if (s_.windows_at_a_time < s_.windows_per_step ||
        s_.recompute_activations) {
      return m.gradients + m.activations + transient;
    }
    int64_t most = m.activations + transient;
    int64_t kept = m.activations;
    int64_t gradients = 0;
    for (int64_t l = s_.num_layers - 1; l >= s_.first_layer; --l) {
      gradients += 3 * s_.hidden * WidthOf(l) * kFloat;
      most = std::max(most, kept + gradients + m.working);
      kept -= LayerBytes(l);
    }
    return most;
  }

  int64_t EvaluationBytes() const {
    const int64_t tokens = std::max(kEvaluationTokens, s_.window_tokens);
    return LogitsBytes(tokens) +
           tokens * (6 * s_.hidden + 2 * Widest()) * kFloat;
  }

  int64_t DataBytes() const {
    const int64_t windows = s_.train_windows + s_.heldout_windows;
    int64_t bytes = windows * s_.window_tokens * (s_.hidden * kFloat + 8);
    if (s_.distils) {
      const int64_t id = s_.vocabulary > (1 << 16) ? 3 : 2;
      bytes +=
          s_.train_windows * s_.window_tokens * (kTeacherTokens * (id + 2) + 8);
      // Unpacked for one batch: int64 ids and fp32 log-probabilities.
      bytes += Tokens() * kTeacherTokens * 24;
    }
    return bytes + Tokens() * s_.hidden * kFloat;
  }

  const TrainingShape& s_;
};

// Settings that need less, and what they need.
std::vector<std::string> Remedies(const TrainingShape& shape,
                                  int64_t available) {
  std::vector<std::string> remedies;
  const auto consider = [&](const TrainingShape& smaller,
                            const std::string& what) {
    const int64_t peak = PredictTrainingMemory(smaller).peak;
    if (peak <= available) {
      remedies.push_back(fmt::format("{} ({})", what, Human(peak)));
    }
  };
  TrainingShape smaller = shape;
  smaller.recompute_activations = true;
  if (!shape.recompute_activations) {
    consider(smaller, "recompute_activations");
  }
  if (shape.windows_at_a_time > 1) {
    smaller.windows_at_a_time = 1;
    consider(smaller, "recompute_activations with micro_batch_windows 1");
  }
  if (shape.frozen_element_bytes > 2) {
    smaller.frozen_element_bytes = 2;
    consider(smaller, "both with frozen weights in bf16");
  }
  for (int64_t tokens = shape.window_tokens / 2;
       remedies.empty() && tokens >= 64; tokens /= 2) {
    smaller.window_tokens = tokens;
    consider(smaller, fmt::format("besides, windows of {} tokens", tokens));
  }
  const auto widest =
      std::max_element(shape.widths.begin(), shape.widths.end());
  for (int64_t width = widest == shape.widths.end() ? 0 : *widest / 2;
       remedies.empty() && width >= 8; width /= 2) {
    for (int64_t& w : smaller.widths) {
      w = std::min(w, width);
    }
    consider(smaller, fmt::format("besides, an expert of width {}", width));
  }
  return remedies;
}

}  // namespace

TrainingShape ShapeOf(const model_format::ModelConfig& config,
                      int64_t first_layer, const std::vector<int64_t>& widths) {
  TrainingShape shape = {
      .hidden = config.hidden_size,
      .num_layers = config.num_layers,
      .intermediate = config.intermediate_size,
      .vocabulary = config.vocab_size,
      .query_width = config.num_heads * config.head_dim,
      .kv_width = config.num_kv_heads * config.head_dim,
      .num_heads = config.num_heads,
      .tied_embeddings = config.tie_word_embeddings,
      .post_norm = config.block == model_format::BlockForm::kPostNorm,
      .qk_norm = config.qk_norm != model_format::QkNorm::kNone,
      .first_layer = first_layer};
  if (static_cast<int64_t>(widths.size()) == config.num_layers) {
    shape.widths = widths;
  } else {
    shape.widths.assign(config.num_layers, 0);
    for (int64_t l = first_layer; l < config.num_layers; ++l) {
      shape.widths[l] =
          widths.empty() ? config.intermediate_size : widths.front();
    }
  }
  return shape;
}

std::string TrainingMemory::ToString() const {
  return fmt::format(
      "{} (process {}, weights {}, optimizer {}, gradients {}, activations {}, "
      "logits {}, data {})",
      Human(peak), Human(process), Human(weights), Human(optimizer),
      Human(gradients), Human(activations), Human(logits), Human(data));
}

TrainingMemory PredictTrainingMemory(const TrainingShape& shape) {
  return Arithmetic(shape).Run();
}

Status CheckFits(const TrainingShape& shape, int64_t available,
                 const std::string& available_name) {
  const TrainingMemory memory = PredictTrainingMemory(shape);
  if (memory.peak <= available) {
    return absl::OkStatus();
  }
  const std::vector<std::string> remedies = Remedies(shape, available);
  return ResourceExhausted(
      "training would need {}; {} has {}; {}", memory.ToString(),
      available_name, Human(available),
      remedies.empty()
          ? std::string("no setting of window, width or recomputation fits: "
                        "use a machine with more memory")
          : fmt::format("what would fit: {}", fmt::join(remedies, "; ")));
}

}  // namespace tributary::contributor

#include "contributor/training/trainer.h"

#include <fcntl.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>
#include <optional>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/evaluation/log_loss.h"
#include "common/model/load.h"
#include "common/model_format/parameter_names.h"
#include "contributor/calibration/tensor_file.h"
#include "contributor/training/adamw.h"
#include "contributor/training/checkpoint.h"

namespace tributary::contributor {
namespace {

using at::Tensor;
using model_format::MlpPart;

// The matrices that are trained, by their names in an expert file.
NamedTensors TrainedTensors(const model::CausalLm& lm) {
  NamedTensors tensors;
  for (int64_t l = 0; l < lm.num_layers(); ++l) {
    const auto& experts = lm.layers[l].experts;
    if (!experts.empty() && experts.back().has_value()) {
      const model::Ffn& ffn = *experts.back();
      tensors.emplace_back(model_format::ExpertMlp(l, MlpPart::kGate),
                           ffn.gate_FD);
      tensors.emplace_back(model_format::ExpertMlp(l, MlpPart::kUp), ffn.up_FD);
      tensors.emplace_back(model_format::ExpertMlp(l, MlpPart::kDown),
                           ffn.down_DF);
    }
  }
  return tensors;
}

void UpdateDigest(crypto::Sha256& digest, const Tensor& tensor) {
  const Tensor data = tensor.detach().cpu().contiguous();
  digest.Update(std::string_view(
      static_cast<const char*>(data.const_data_ptr()), data.nbytes()));
}

// SHA-256 over everything that decides how the run goes.
std::string Fingerprint(const model::CausalLm& lm, const TrunkWindows& train,
                        const std::string& frozen_digest,
                        const NamedTensors& trained,
                        const TrainerOptions& options) {
  const OptimizerOptions& o = options.optimizer;
  crypto::Sha256 digest;
  digest.Update(fmt::format(
      "1|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", options.seed,
      options.loss_description, frozen_digest, at::get_num_threads(),
      train.first_layer, o.learning_rate, o.beta1, o.beta2, o.epsilon,
      o.weight_decay, o.clip_norm, o.warmup_steps, o.final_fraction, o.epochs,
      o.windows_per_step));
  UpdateDigest(digest, train.ids_BS);
  for (const model::DecoderLayer& layer : lm.layers) {
    if (layer.router_ED.defined()) {
      UpdateDigest(digest, layer.router_ED);
    }
    if (layer.router_bias_E.defined()) {
      UpdateDigest(digest, layer.router_bias_E);
    }
  }
  for (const auto& [name, tensor] : trained) {
    digest.Update(name);
    UpdateDigest(digest, tensor);
  }
  return digest.Hex();
}

// Appends a line per step, behind the lines of the steps before `step`.
class LossFile {
 public:
  static StatusOr<LossFile> Open(const std::filesystem::path& path,
                                 int64_t step) {
    LossFile file(path);
    auto content = ReadFile(path);
    if (content.ok()) {
      size_t end = 0;
      for (int64_t line = 0; line < step; ++line) {
        const size_t found = content->find('\n', end);
        if (found == std::string::npos) {
          break;  // lines are missing; those that are there stay
        }
        end = found + 1;
      }
      file.lines_ = content->substr(0, end);
    }
    RETURN_IF_ERROR(WriteFileAtomic(path, file.lines_));
    ASSIGN_OR_RETURN(file.file_, OpenFile(path, O_WRONLY));
    file.size_ = file.lines_.size();
    return file;
  }

  Status Append(const nlohmann::ordered_json& line) {
    const std::string text = line.dump() + "\n";
    RETURN_IF_ERROR(WriteAll(file_, text, size_));
    size_ += text.size();
    return absl::OkStatus();
  }

 private:
  explicit LossFile(const std::filesystem::path& path) : path_(path) {}
  std::filesystem::path path_;
  std::string lines_;
  FileDescriptor file_;
  uint64_t size_ = 0;
};

class Training {
 public:
  Training(model::CausalLm& lm, const TrunkWindows& train,
           const LossFunction& loss, const TrainerOptions& options,
           std::string fingerprint)
      : lm_(lm),
        train_(train),
        loss_(loss),
        options_(options),
        fingerprint_(std::move(fingerprint)),
        trained_(TrainedTensors(lm)),
        adamw_(Leaves(trained_), options.optimizer),
        writer_(options.checkpoint_path),
        steps_per_epoch_(StepsPerEpoch(options.optimizer, train.windows())),
        steps_(steps_per_epoch_ * options.optimizer.epochs) {}

  ~Training() {
    for (auto& [name, tensor] : trained_) {
      tensor.set_requires_grad(false);
    }
  }

  // True when there was a checkpoint.
  StatusOr<bool> Resume() {
    ASSIGN_OR_RETURN(const auto checkpoint,
                     ReadCheckpoint(options_.checkpoint_path, fingerprint_));
    if (!checkpoint) {
      return false;
    }
    const at::NoGradGuard no_grad;
    const NamedTensors state = State();
    if (checkpoint->tensors.size() != state.size()) {
      return InvalidArgument("{}: got {} tensors, wanted {}",
                             options_.checkpoint_path.string(),
                             checkpoint->tensors.size(), state.size());
    }
    for (size_t i = 0; i < state.size(); ++i) {
      const auto& [name, stored] = checkpoint->tensors[i];
      if (name != state[i].first ||
          !stored.sizes().equals(state[i].second.sizes())) {
        return InvalidArgument("{}: tensor {} is not as it should be",
                               options_.checkpoint_path.string(), name);
      }
      state[i].second.copy_(stored);
    }
    adamw_.set_steps(checkpoint->step);
    writer_.set_saved_step(checkpoint->step);
    losses_ = checkpoint->losses;
    return true;
  }

  Status Run() {
    const double start = SystemClock().MonotonicSeconds();
    ASSIGN_OR_RETURN(LossFile file, LossFile::Open(options_.loss_path, step()));
    while (step() < steps_) {
      const int64_t epoch = step() / steps_per_epoch_;
      const double learning_rate =
          LearningRate(options_.optimizer, step(), steps_);
      const WindowBatch batch =
          TakeBatch(train_, WindowsOf(step()), lm_.device());
      ASSIGN_OR_RETURN(const auto measured, Step(batch, learning_rate));
      losses_.push_back(measured.first);
      RETURN_IF_ERROR(
          file.Append({{"step", step()},
                       {"epoch", epoch},
                       {"loss", measured.first},
                       {"learning_rate", learning_rate},
                       {"gradient_norm", measured.second},
                       {"tokens", batch.targets_T.numel()},
                       {"seconds", SystemClock().MonotonicSeconds() - start}}));
      const Status going_on = options_.report(
          static_cast<double>(step()) / static_cast<double>(steps_),
          fmt::format("step {} of {}, loss {:.3f}", step(), steps_,
                      measured.first));
      const bool due = step() % options_.optimizer.checkpoint_steps == 0;
      if (step() < steps_ && (due || !going_on.ok())) {
        RETURN_IF_ERROR(writer_.Save({.tensors = State(),
                                      .losses = losses_,
                                      .step = step(),
                                      .fingerprint = fingerprint_}));
      }
      if (!going_on.ok()) {
        RETURN_IF_ERROR(writer_.Wait());
        return going_on;
      }
    }
    return writer_.Wait();
  }

  const NamedTensors& trained() const { return trained_; }
  int64_t steps() const { return steps_; }
  int64_t tokens() const {
    return options_.optimizer.epochs * train_.windows() * (train_.length() - 1);
  }
  // Mean loss of the first or last tenth of the steps.
  double MeanLoss(bool last) const {
    const size_t count = std::max<size_t>(1, losses_.size() / 10);
    const auto begin = last ? losses_.end() - count : losses_.begin();
    return std::accumulate(begin, begin + count, 0.0) /
           static_cast<double>(count);
  }

 private:
  static std::vector<Tensor> Leaves(NamedTensors& trained) {
    std::vector<Tensor> leaves;
    for (auto& [name, tensor] : trained) {
      tensor.set_requires_grad(true);
      leaves.push_back(tensor);
    }
    return leaves;
  }

  int64_t step() const { return static_cast<int64_t>(losses_.size()); }

  std::vector<int64_t> WindowsOf(int64_t step) const {
    const std::vector<int64_t> order =
        EpochOrder(options_.seed, step / steps_per_epoch_, train_.windows());
    const int64_t batch = options_.optimizer.windows_per_step;
    const int64_t begin = (step % steps_per_epoch_) * batch;
    const int64_t end = std::min(begin + batch, train_.windows());
    return {order.begin() + begin, order.begin() + end};
  }

  // Loss and gradient norm.
  StatusOr<std::pair<double, double>> Step(const WindowBatch& batch,
                                           double learning_rate) {
    const at::AutoGradMode grad(true);
    const Tensor loss =
        loss_(batch, HiddenOfBatch(lm_, train_.first_layer, batch));
    const double value = loss.item<double>();
    double norm = std::nan("");
    if (std::isfinite(value)) {
      loss.backward();
      norm = adamw_.Step(learning_rate);
    }
    if (!std::isfinite(norm)) {
      (void)writer_.Wait();
      return InvalidArgument(
          "training diverged in step {}: loss {}, gradient norm {}; {}; lower "
          "the learning rate (now {})",
          step() + 1, value, norm,
          writer_.saved_step() > 0
              ? fmt::format("the last checkpoint is {} of step {}",
                            options_.checkpoint_path.string(),
                            writer_.saved_step())
              : std::string("there is no checkpoint yet"),
          options_.optimizer.learning_rate);
    }
    return std::pair(value, norm);
  }

  // Everything that changes, in a fixed order.
  NamedTensors State() const {
    NamedTensors state = trained_;
    for (size_t i = 0; i < trained_.size(); ++i) {
      state.emplace_back("m." + trained_[i].first, adamw_.first_moments()[i]);
    }
    for (size_t i = 0; i < trained_.size(); ++i) {
      state.emplace_back("v." + trained_[i].first, adamw_.second_moments()[i]);
    }
    return state;
  }

  model::CausalLm& lm_;
  const TrunkWindows& train_;
  const LossFunction& loss_;
  const TrainerOptions& options_;
  const std::string fingerprint_;
  NamedTensors trained_;
  AdamW adamw_;
  CheckpointWriter writer_;
  const int64_t steps_per_epoch_;
  const int64_t steps_;
  std::vector<double> losses_;
};

}  // namespace

StatusOr<TrainingOutcome> TrainExpert(model::CausalLm& lm,
                                      const TrunkWindows& train,
                                      const TrunkWindows& heldout,
                                      const LossFunction& loss,
                                      const TrainerOptions& options) {
  RETURN_IF_ERROR(CheckOptimizer(options.optimizer));
  const NamedTensors trained = TrainedTensors(lm);
  if (trained.empty()) {
    return InvalidArgument(
        "training: the expert has no weights in any layer; wanted a width "
        "above 0");
  }
  TrainingOutcome outcome;
  ASSIGN_OR_RETURN(outcome.frozen_digest_before, model::DigestFrozen(lm));
  {
    Training training(
        lm, train, loss, options,
        Fingerprint(lm, train, outcome.frozen_digest_before, trained, options));
    ASSIGN_OR_RETURN(outcome.resumed, training.Resume());
    RETURN_IF_ERROR(training.Run());
    RETURN_IF_ERROR(WriteTensors(options.expert_path, training.trained()));
    outcome.steps = training.steps();
    outcome.tokens = training.tokens();
    outcome.first_loss = training.MeanLoss(/*last=*/false);
    outcome.last_loss = training.MeanLoss(/*last=*/true);
  }
  ASSIGN_OR_RETURN(outcome.frozen_digest_after, model::DigestFrozen(lm));
  if (outcome.frozen_digest_after != outcome.frozen_digest_before) {
    return Internal(
        "training changed frozen tensors: digest {} before, {} after",
        outcome.frozen_digest_before, outcome.frozen_digest_after);
  }
  RETURN_IF_ERROR(options.report(1, "evaluating"));
  ASSIGN_OR_RETURN(
      const evaluation::LogLoss evaluated,
      evaluation::EvaluateWindows(lm, heldout.ids_BS,
                                  {.trunk_WSD = heldout.trunk_BSD,
                                   .first_layer = heldout.first_layer}));
  outcome.heldout_log_loss = evaluated.mean;
  std::error_code error;
  std::filesystem::remove(options.checkpoint_path, error);
  return outcome;
}

}  // namespace tributary::contributor

#include "contributor/training/trainer.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/evaluation/log_loss.h"
#include "common/model/load.h"
#include "contributor/calibration/tensor_file.h"
#include "contributor/training/adamw.h"
#include "contributor/training/checkpoint.h"
#include "contributor/training/history.h"
#include "contributor/training/loss_log.h"
#include "contributor/training/run_fingerprint.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

constexpr char kBestStep[] = "step";

StatusOr<double> HeldoutLoss(const model::CausalLm& lm,
                             const TrunkWindows& heldout) {
  ASSIGN_OR_RETURN(
      const evaluation::LogLoss evaluated,
      evaluation::EvaluateWindows(lm, heldout.ids_BS,
                                  {.trunk_WSD = heldout.trunk_BSD,
                                   .first_layer = heldout.first_layer,
                                   .documents_WS = heldout.documents_BS}));
  return evaluated.mean;
}

class Training {
 public:
  Training(model::CausalLm& lm, const TrunkWindows& train,
           const TrunkWindows& heldout, const LossFunction& loss,
           const TrainerOptions& options, TrainedExpert& trained,
           std::string fingerprint)
      : lm_(lm),
        train_(train),
        heldout_(heldout),
        loss_(loss),
        options_(options),
        optimizer_(options.optimizer),
        fingerprint_(std::move(fingerprint)),
        trained_(trained),
        adamw_(trained.parameters(), options.optimizer),
        writer_(options.checkpoint_path),
        steps_per_epoch_(StepsPerEpoch(options.optimizer, train.windows())),
        steps_(steps_per_epoch_ * options.optimizer.epochs) {}

  // True when there was a checkpoint.
  StatusOr<bool> Resume() {
    ASSIGN_OR_RETURN(auto checkpoint,
                     ReadCheckpoint(options_.checkpoint_path, fingerprint_));
    if (!checkpoint) {
      return false;
    }
    RETURN_IF_ERROR(
        trained_.Load(options_.checkpoint_path, checkpoint->tensors, State()));
    trained_.Settle();
    adamw_.set_steps(checkpoint->step());
    writer_.set_saved_step(checkpoint->step());
    history_ = std::move(checkpoint->history);
    return true;
  }

  Status Run() {
    start_ = SystemClock().MonotonicSeconds();
    ASSIGN_OR_RETURN(log_, LossLog::Open(options_.loss_path, step()));
    if (step() == 0 && optimizer_.validation_steps > 0) {
      RETURN_IF_ERROR(Validate());
    }
    while (step() < steps_ && !OutOfPatience()) {
      RETURN_IF_ERROR(TakeStep());
      if (optimizer_.validation_steps > 0 &&
          (step() % optimizer_.validation_steps == 0 || step() == steps_)) {
        RETURN_IF_ERROR(Validate());
      }
      const Status going_on = options_.report(
          static_cast<double>(step()) / static_cast<double>(steps_),
          ProgressLine());
      const bool due = step() % optimizer_.checkpoint_steps == 0;
      if (step() < steps_ && !OutOfPatience() && (due || !going_on.ok())) {
        RETURN_IF_ERROR(writer_.Save({.tensors = State(),
                                      .history = history_,
                                      .fingerprint = fingerprint_}));
      }
      if (!going_on.ok()) {
        RETURN_IF_ERROR(writer_.Wait());
        return going_on;
      }
    }
    RETURN_IF_ERROR(writer_.Wait());
    return optimizer_.patience > 0 ? TakeBest() : absl::OkStatus();
  }

  // Measures the weights kept, writes the picture and fills the outcome.
  Status Finish(TrainingOutcome* outcome) {
    outcome->steps = step();
    outcome->best_step = kept_step();
    outcome->stopped_early = step() < steps_;
    outcome->tokens = step() / steps_per_epoch_ * train_.targets();
    for (int64_t s = step() - step() % steps_per_epoch_; s < step(); ++s) {
      outcome->tokens += TargetsOf(WindowsOf(s));
    }
    outcome->first_loss = history_.MeanLoss(/*last=*/false);
    outcome->last_loss = history_.MeanLoss(/*last=*/true);
    const auto known = std::find_if(
        history_.validations.begin(), history_.validations.end(),
        [&](const Validation& v) { return v.step == kept_step(); });
    if (known != history_.validations.end()) {
      outcome->heldout_log_loss = known->log_loss;
    } else {
      RETURN_IF_ERROR(options_.report(1, "evaluating"));
      ASSIGN_OR_RETURN(outcome->heldout_log_loss, HeldoutLoss(lm_, heldout_));
      history_.validations.push_back(
          {.step = kept_step(), .log_loss = outcome->heldout_log_loss});
    }
    const std::set<int64_t> widths(optimizer_.nested_widths.begin(),
                                   optimizer_.nested_widths.end());
    for (const int64_t width : widths) {
      PrefixLogLoss prefix = {.width = width};
      ASSIGN_OR_RETURN(prefix.log_loss,
                       HeldoutLoss(trained_.Prefix(width), heldout_));
      outcome->prefixes.push_back(prefix);
    }
    if (!options_.curve_path.empty()) {
      RETURN_IF_ERROR(WriteFileAtomic(options_.curve_path,
                                      LossCurve(history_, "Loss by step")));
    }
    return absl::OkStatus();
  }

 private:
  int64_t step() const { return history_.steps(); }
  BestValidation best() const {
    return FindBest(history_, optimizer_.min_improvement);
  }
  // The step whose weights are kept.
  int64_t kept_step() const {
    return optimizer_.patience > 0 ? best().step : step();
  }
  bool OutOfPatience() const {
    return optimizer_.patience > 0 && best().since >= optimizer_.patience;
  }
  double Seconds() const { return SystemClock().MonotonicSeconds() - start_; }

  std::string ProgressLine() const {
    std::string line = fmt::format("step {} of {}, loss {:.3f}", step(), steps_,
                                   history_.losses.back());
    if (!history_.validations.empty()) {
      line += fmt::format(", held-out {:.3f}",
                          history_.validations.back().log_loss);
    }
    return line;
  }

  std::vector<int64_t> WindowsOf(int64_t step) {
    if (step / steps_per_epoch_ != ordered_epoch_) {
      ordered_epoch_ = step / steps_per_epoch_;
      order_ = EpochOrder(options_.seed, ordered_epoch_, train_.windows());
    }
    const int64_t batch = optimizer_.windows_per_step;
    const int64_t begin = (step % steps_per_epoch_) * batch;
    const int64_t end = std::min(begin + batch, train_.windows());
    return {order_.begin() + begin, order_.begin() + end};
  }

  int64_t TargetsOf(const std::vector<int64_t>& windows) const {
    if (!train_.documents_BS.defined()) {
      return static_cast<int64_t>(windows.size()) * (train_.length() - 1);
    }
    return TrunkWindows{.ids_BS = train_.ids_BS,
                        .documents_BS = train_.documents_BS.index_select(
                            0, at::tensor(windows, at::kLong))}
        .targets();
  }

  Status TakeStep() {
    const double learning_rate = LearningRate(optimizer_, step(), steps_);
    const int64_t width = NestedWidth(optimizer_, options_.seed, step());
    const std::vector<int64_t> windows = WindowsOf(step());
    const int64_t epoch = step() / steps_per_epoch_;
    const int64_t tokens = TargetsOf(windows);
    ASSIGN_OR_RETURN(const double loss, AddGradients(windows, tokens, width));
    const double norm = adamw_.Step(learning_rate);
    if (!std::isfinite(norm)) {
      return Diverged(loss, norm, TakeBatch(train_, windows, lm_.device()));
    }
    trained_.Settle();
    history_.losses.push_back(loss);
    nlohmann::ordered_json line = {
        {"step", step()},        {"epoch", epoch},
        {"loss", loss},          {"learning_rate", learning_rate},
        {"gradient_norm", norm}, {"tokens", tokens},
        {"seconds", Seconds()}};
    if (width > 0) {
      line["width"] = width;
    }
    return log_->Append(line);
  }

  // The mean loss over the tokens of a step, its gradient added up over micro
  // batches: the gradient of all windows at once.
  StatusOr<double> AddGradients(const std::vector<int64_t>& windows,
                                int64_t tokens, int64_t width) {
    const auto count = static_cast<int64_t>(windows.size());
    const int64_t micro = optimizer_.micro_batch_windows > 0
                              ? optimizer_.micro_batch_windows
                              : count;
    const TrainedPassOptions pass = {
        .recompute_activations = options_.recompute_activations,
        .prefix_width = width,
        .rows = trained_.rows()};
    double sum = 0;
    for (int64_t begin = 0; begin < count; begin += micro) {
      const int64_t end = std::min(begin + micro, count);
      const WindowBatch batch =
          TakeBatch(train_, {windows.begin() + begin, windows.begin() + end},
                    lm_.device());
      const at::AutoGradMode grad(true);
      const TrainedHidden hidden =
          TrainedHiddenOfBatch(lm_, train_.first_layer, batch, pass);
      const Tensor loss = loss_(batch, hidden.hidden_TD);
      const double value = loss.item<double>();
      if (!std::isfinite(value)) {
        return Diverged(value, std::nan(""), batch);
      }
      const double share = static_cast<double>(batch.targets_T.numel()) /
                           static_cast<double>(tokens);
      sum += share * value;
      Tensor objective = loss * share;
      if (hidden.z_loss.defined() && options_.rows.z_loss > 0) {
        objective =
            objective + hidden.z_loss * (options_.rows.z_loss *
                                         static_cast<double>(end - begin) /
                                         static_cast<double>(count));
      }
      objective.backward();
    }
    return sum;
  }

  Status Diverged(double loss, double norm, const WindowBatch& batch) {
    (void)writer_.Wait();
    std::string kept = "there is no checkpoint yet";
    if (writer_.saved_step() > 0) {
      kept =
          fmt::format("the last checkpoint is {} of step {}",
                      options_.checkpoint_path.string(), writer_.saved_step());
    }
    if (optimizer_.patience > 0 && best().step >= 0) {
      kept += fmt::format(", the best weights so far are {} of step {}",
                          options_.best_path.string(), best().step);
    }
    return InvalidArgument(
        "training diverged in step {}: loss {}, gradient norm {}; {}; {}",
        step() + 1, loss, norm, kept,
        LikelyCause(batch, trained_, history_.losses, options_));
  }

  Status Validate() {
    ASSIGN_OR_RETURN(const double loss, HeldoutLoss(lm_, heldout_));
    if (!std::isfinite(loss)) {
      return InvalidArgument(
          "the held-out loss behind step {} is {}: {}; lower the learning rate "
          "(now {}), or calibrate again if it is so from the start",
          step(), loss,
          writer_.saved_step() > 0
              ? fmt::format("the last checkpoint is of step {}",
                            writer_.saved_step())
              : std::string("there is no checkpoint yet"),
          optimizer_.learning_rate);
    }
    history_.validations.push_back({.step = step(), .log_loss = loss});
    RETURN_IF_ERROR(log_->Append({{"step", step()},
                                  {"heldout_log_loss", loss},
                                  {"seconds", Seconds()}}));
    if (optimizer_.patience > 0 && best().step == step()) {
      return WriteTensors(options_.best_path, trained_.leaves(),
                          {{kBestStep, std::to_string(step())}});
    }
    return absl::OkStatus();
  }

  // The weights of the best measurement instead of the last ones. A run that
  // went on from a checkpoint has written them again where they were newer.
  Status TakeBest() {
    ASSIGN_OR_RETURN(const auto file, OpenTensorFile(options_.best_path));
    const auto found = file->metadata().find(kBestStep);
    if (found == file->metadata().end() ||
        found->second != std::to_string(best().step)) {
      return FailedPrecondition(
          "{}: does not hold the weights of step {}; delete it and the "
          "checkpoint to start afresh",
          options_.best_path.string(), best().step);
    }
    NamedTensors stored;
    for (const auto& info : file->tensors()) {
      ASSIGN_OR_RETURN(Tensor tensor, MapTensor(file, info.name));
      stored.emplace_back(info.name, std::move(tensor));
    }
    RETURN_IF_ERROR(
        trained_.Load(options_.best_path, stored, trained_.leaves()));
    trained_.Settle();
    return absl::OkStatus();
  }

  // Everything that changes, in a fixed order.
  NamedTensors State() const {
    const NamedTensors& leaves = trained_.leaves();
    NamedTensors state = leaves;
    for (size_t i = 0; i < leaves.size(); ++i) {
      state.emplace_back("m." + leaves[i].first, adamw_.first_moments()[i]);
    }
    for (size_t i = 0; i < leaves.size(); ++i) {
      state.emplace_back("v." + leaves[i].first, adamw_.second_moments()[i]);
    }
    return state;
  }

  model::CausalLm& lm_;
  const TrunkWindows& train_;
  const TrunkWindows& heldout_;
  const LossFunction& loss_;
  const TrainerOptions& options_;
  const OptimizerOptions& optimizer_;
  const std::string fingerprint_;
  TrainedExpert& trained_;
  AdamW adamw_;
  CheckpointWriter writer_;
  const int64_t steps_per_epoch_;
  const int64_t steps_;
  TrainingHistory history_;
  std::vector<int64_t> order_;  // of the windows in ordered_epoch_
  int64_t ordered_epoch_ = -1;
  std::optional<LossLog> log_;
  double start_ = 0;
};

void RemoveFiles(const TrainerOptions& options) {
  std::error_code error;
  std::filesystem::remove(options.checkpoint_path, error);
  if (!options.best_path.empty()) {
    std::filesystem::remove(options.best_path, error);
  }
}

}  // namespace

StatusOr<TrainingOutcome> TrainExpert(model::CausalLm& lm,
                                      const TrunkWindows& train,
                                      const TrunkWindows& heldout,
                                      const LossFunction& loss,
                                      const TrainerOptions& options) {
  RETURN_IF_ERROR(CheckOptimizer(options.optimizer));
  TrainingOutcome outcome;
  ASSIGN_OR_RETURN(outcome.frozen_digest_before, model::DigestFrozen(lm));
  ASSIGN_OR_RETURN(const auto trained, TrainedExpert::Create(lm, options.rows));
  {
    Training training(
        lm, train, heldout, loss, options, *trained,
        RunFingerprint(lm, train, heldout, outcome.frozen_digest_before,
                       *trained, options));
    ASSIGN_OR_RETURN(outcome.resumed, training.Resume());
    RETURN_IF_ERROR(training.Run());
    RETURN_IF_ERROR(training.Finish(&outcome));
  }
  RETURN_IF_ERROR(WriteTensors(options.expert_path, trained->matrices()));
  RETURN_IF_ERROR(WriteFileAtomic(AnchorMark(options.expert_path),
                                  AnchorIdentity(lm) + "\n"));
  if (options.rows.trained) {
    RETURN_IF_ERROR(WriteTensors(options.router_path, trained->router()));
  }
  ASSIGN_OR_RETURN(outcome.frozen_digest_after, model::DigestFrozen(lm));
  if (outcome.frozen_digest_after != outcome.frozen_digest_before) {
    return Internal(
        "training changed frozen tensors: digest {} before, {} after",
        outcome.frozen_digest_before, outcome.frozen_digest_after);
  }
  RemoveFiles(options);
  return outcome;
}

}  // namespace tributary::contributor

#include "contributor/calibration/calibrate.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "common/crypto/digest.h"
#include "common/safetensors/writer.h"
#include "contributor/calibration/forward_statistics.h"
#include "contributor/calibration/taylor.h"
#include "contributor/calibration/tensor_file.h"
#include "contributor/calibration/window_documents.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

// The progress of a forward pass is this part of one with gradients.
constexpr double kForwardShare = 0.3;
constexpr char kProgressKey[] = "progress";
constexpr char kRunKey[] = "run";

struct SplitIds {
  std::string name;
  Tensor ids_BS;
  Tensor documents_BS = {};  // undefined: every window is one document

  SplitIds Part(int64_t begin, int64_t end) const {
    return {
        name, ids_BS.slice(0, begin, end),
        documents_BS.defined() ? documents_BS.slice(0, begin, end) : Tensor()};
  }
  int64_t windows() const { return ids_BS.size(0); }
  // Tokens that are predicted.
  int64_t targets() const {
    return documents_BS.defined()
               ? HasTarget(documents_BS).sum().item<int64_t>()
               : windows() * (ids_BS.size(1) - 1);
  }
};

Status CheckOptions(const model::CausalLm& lm,
                    const CalibrateOptions& options) {
  if (options.first_layer < 0 || options.first_layer >= lm.num_layers()) {
    return InvalidArgument("first_layer: got {}, wanted 0 to {}",
                           options.first_layer, lm.num_layers() - 1);
  }
  if (options.sample_stride < 0) {
    return InvalidArgument("sample_stride: got {}, wanted 0 (none) or more",
                           options.sample_stride);
  }
  if (lm.num_experts() > 2) {
    return InvalidArgument("model: got {} experts, wanted at most one",
                           lm.num_experts() - 1);
  }
  const std::set<Formula> distinct(options.formulas.begin(),
                                   options.formulas.end());
  if (distinct.empty() || distinct.size() != options.formulas.size()) {
    return InvalidArgument(
        "formulas: got {} of {} kinds, wanted at least one and each once",
        options.formulas.size(), distinct.size());
  }
  if (options.shards < 1 || options.shard < 0 ||
      options.shard >= options.shards) {
    return InvalidArgument("shard: got {} of {}, wanted 0 to one below {}",
                           options.shard, options.shards, options.shards);
  }
  if (!options.resume_path.empty() &&
      !(options.trunk_path.empty() && options.activations_path.empty() &&
        options.second_moments_path.empty())) {
    return InvalidArgument(
        "resume_path: a run that writes more than importance starts afresh");
  }
  return absl::OkStatus();
}

StatusOr<std::vector<SplitIds>> ReadSplits(const model::CausalLm& lm,
                                           const CalibrateOptions& options) {
  const int64_t vocabulary = lm.config.vocab_size;
  ASSIGN_OR_RETURN(const auto file, OpenTensorFile(options.tokens_path));
  std::vector<SplitIds> splits;
  if (file->Find("input_ids") != nullptr) {
    ASSIGN_OR_RETURN(Tensor ids, ReadTokenIds(file, "input_ids", vocabulary));
    splits.push_back({"train", std::move(ids)});
  } else {
    for (const char* name : {"train", "heldout"}) {
      ASSIGN_OR_RETURN(Tensor ids, ReadTokenIds(file, name, vocabulary));
      ASSIGN_OR_RETURN(Tensor documents, ReadDocuments(file, name, ids));
      splits.push_back({name, std::move(ids), std::move(documents)});
    }
  }
  return splits;
}

// A safetensors file that is filled from front to back.
StatusOr<std::unique_ptr<safetensors::Writer>> OpenTrunk(
    const model::CausalLm& lm, const CalibrateOptions& options,
    const std::vector<SplitIds>& splits) {
  if (options.trunk_path.empty()) {
    return nullptr;
  }
  std::vector<safetensors::TensorSpec> specs;
  for (const SplitIds& split : splits) {
    specs.push_back(
        {split.name,
         safetensors::DType::kF32,
         {split.ids_BS.size(0), split.ids_BS.size(1), lm.config.hidden_size}});
  }
  return safetensors::Writer::Create(
      options.trunk_path, std::move(specs),
      {.metadata = {{"first_layer", std::to_string(options.first_layer)}}});
}

// What one run does, batch by batch: forward over `train`, gradients over
// `train` when there is kTaylor, forward over `heldout` for a trunk.
class Run {
 public:
  Run(const model::CausalLm& lm, const CalibrateOptions& options,
      const std::function<Status(double)>& report, std::vector<SplitIds> splits)
      : lm_(lm),
        options_(options),
        report_(report),
        splits_(std::move(splits)),
        sums_(EmptySums(lm, options.first_layer, options.formulas)) {
    const Tensor& train = splits_[0].ids_BS;
    batch_ = std::max<int64_t>(1, options.batch_tokens / train.size(1));
    const int64_t batches = (train.size(0) + batch_ - 1) / batch_;
    const int64_t begin = batches * options.shard / options.shards * batch_;
    const int64_t end = batches * (options.shard + 1) / options.shards * batch_;
    shard_ = splits_[0].Part(begin, end);
    const bool taylor =
        std::ranges::count(options.formulas, Formula::kTaylor) > 0;
    total_ = Forward(shard_) + (taylor ? Forward(shard_) / kForwardShare : 0);
    // Text that is held out is only passed for its trunk, and measured then.
    if (options.trunk_path.empty()) {
      splits_.resize(1);
    }
    for (size_t i = 1; i < splits_.size(); ++i) {
      total_ += Forward(splits_[i]);
    }
    gradients_ = taylor;
  }

  StatusOr<Calibration> Finish() {
    if (shard_.windows() == 0) {
      return InvalidArgument(
          "shard: part {} of {} has no windows; take fewer parts",
          options_.shard, options_.shards);
    }
    ASSIGN_OR_RETURN(trunk_, OpenTrunk(lm_, options_, splits_));
    ASSIGN_OR_RETURN(const bool resumed, Resume());
    ASSIGN_OR_RETURN(const auto statistics,
                     ForwardStatistics::Create(lm_, options_,
                                               shard_.ids_BS.numel(), &sums_));
    RETURN_IF_ERROR(RunForward(shard_, statistics.get()));
    Calibration result{.tokens = shard_.ids_BS.numel(),
                       .train_log_loss = MeanLoss(shard_),
                       .resumed = resumed};
    RETURN_IF_ERROR(RunGradients());
    loss_sum_ = 0;
    for (size_t i = 1; i < splits_.size(); ++i) {
      RETURN_IF_ERROR(RunForward(splits_[i], nullptr));
      result.heldout_log_loss = MeanLoss(splits_[i]);
    }
    sums_.windows = shard_.windows();
    sums_.tokens = shard_.ids_BS.numel();
    if (trunk_ != nullptr) {
      RETURN_IF_ERROR(trunk_->Finish());
    }
    RETURN_IF_ERROR(statistics->Write(options_));
    if (!options_.importance_path.empty()) {
      RETURN_IF_ERROR(WriteImportance(options_.importance_path, sums_,
                                      {.with_sums = options_.write_sums}));
    }
    std::error_code error;
    std::filesystem::remove(options_.resume_path, error);
    return result;
  }

 private:
  static double Forward(const SplitIds& split) {
    return static_cast<double>(split.ids_BS.numel());
  }
  double MeanLoss(const SplitIds& split) const {
    return loss_sum_ / static_cast<double>(split.targets());
  }

  // `statistics` is null for text that is only evaluated.
  Status RunForward(const SplitIds& split, ForwardStatistics* statistics) {
    const int64_t length = split.ids_BS.size(1);
    const int64_t first =
        statistics == nullptr ? 0 : std::min(forward_done_, split.windows());
    for (int64_t begin = first; begin < split.windows(); begin += batch_) {
      const int64_t count = std::min(batch_, split.windows() - begin);
      const SplitIds part = split.Part(begin, begin + count);
      const Tensor ids = part.ids_BS.to(lm_.device());
      const Tensor trunk =
          model::RunLayers(lm_, model::Embed(lm_, ids), 0, options_.first_layer,
                           {.documents_BS = part.documents_BS});
      if (trunk_ != nullptr) {
        const Tensor values = trunk.to(at::kCPU, at::kFloat).contiguous();
        RETURN_IF_ERROR(trunk_->Append(
            {static_cast<const std::byte*>(values.const_data_ptr()),
             values.nbytes()}));
      }
      std::optional<model::Hooks> hooks;
      if (statistics != nullptr) {
        hooks = statistics->HooksFor(count, begin * length);
      }
      const Tensor last =
          model::RunLayers(lm_, trunk, options_.first_layer, lm_.num_layers(),
                           {.hooks = hooks ? &*hooks : nullptr,
                            .documents_BS = part.documents_BS});
      const Tensor hidden = model::FinalNorm(lm_, last)
                                .narrow(1, 0, length - 1)
                                .reshape({count * (length - 1), -1});
      const Tensor targets = ids.narrow(1, 1, length - 1).reshape({-1});
      Tensor losses = model::TokenLogLoss(lm_, hidden, targets);
      if (part.documents_BS.defined()) {
        losses =
            losses *
            HasTarget(part.documents_BS).reshape({-1}).to(losses.options());
      }
      loss_sum_ += losses.sum(at::kDouble).item<double>();
      if (statistics != nullptr) {
        RETURN_IF_ERROR(statistics->status());
        forward_done_ = begin + count;
      }
      done_ += Forward(part);
      RETURN_IF_ERROR(Report(statistics != nullptr));
    }
    return absl::OkStatus();
  }

  Status RunGradients() {
    if (!gradients_) {
      return absl::OkStatus();
    }
    TaylorPass pass(lm_, options_.first_layer, &sums_);
    for (int64_t w = gradients_done_; w < shard_.windows(); ++w) {
      const SplitIds window = shard_.Part(w, w + 1);
      RETURN_IF_ERROR(pass.Add(window.ids_BS, window.documents_BS));
      gradients_done_ = w + 1;
      done_ += static_cast<double>(shard_.ids_BS.size(1)) / kForwardShare;
      RETURN_IF_ERROR(Report(/*resumable=*/true));
    }
    return absl::OkStatus();
  }

  Status Report(bool resumable) {
    const Status going_on = report_(done_ / total_);
    if (!options_.resume_path.empty() && resumable &&
        (!going_on.ok() || ++batches_ % options_.resume_batches == 0)) {
      RETURN_IF_ERROR(Save());
    }
    return going_on;
  }

  // What a stopped run and the one that goes on must have in common.
  StatusOr<std::string> RunName() const {
    ASSIGN_OR_RETURN(const auto tokens,
                     crypto::DigestFile(options_.tokens_path));
    std::string rows;
    if (!options_.router_path.empty()) {
      ASSIGN_OR_RETURN(const auto digest,
                       crypto::DigestFile(options_.router_path));
      rows = digest.sha256;
    }
    return fmt::format("{}|{}|{}|{}|{}", tokens.sha256, rows, batch_,
                       options_.shard, options_.shards);
  }

  Status Save() {
    ASSIGN_OR_RETURN(const std::string name, RunName());
    return WriteImportance(
        options_.resume_path, sums_,
        {.with_sums = true,
         .metadata = {
             {kRunKey, name},
             {kProgressKey, fmt::format("{} {} {:a}", forward_done_,
                                        gradients_done_, loss_sum_)}}});
  }

  // Takes over a file that this very run has left; any other is ignored.
  StatusOr<bool> Resume() {
    std::error_code error;
    if (options_.resume_path.empty() ||
        !std::filesystem::exists(options_.resume_path, error)) {
      return false;
    }
    std::map<std::string, std::string> metadata;
    StatusOr<ImportanceSums> sums =
        ReadImportanceSums(options_.resume_path, &metadata);
    ASSIGN_OR_RETURN(const std::string name, RunName());
    // Merging finds out whether formulas and channels are the same.
    if (!sums.ok() || metadata[kRunKey] != name || !sums_.Merge(*sums).ok()) {
      sums_ = EmptySums(lm_, options_.first_layer, options_.formulas);
      return false;
    }
    const std::string& progress = metadata[kProgressKey];
    char* rest = nullptr;
    forward_done_ = std::strtoll(progress.c_str(), &rest, 10);
    gradients_done_ = std::strtoll(rest, &rest, 10);
    loss_sum_ = std::strtod(rest, nullptr);
    done_ += static_cast<double>(forward_done_ * shard_.ids_BS.size(1)) +
             static_cast<double>(gradients_done_ * shard_.ids_BS.size(1)) /
                 kForwardShare;
    return true;
  }

  const model::CausalLm& lm_;
  const CalibrateOptions& options_;
  const std::function<Status(double)>& report_;
  std::vector<SplitIds> splits_;  // constant after construction
  ImportanceSums sums_;
  SplitIds shard_;
  std::unique_ptr<safetensors::Writer> trunk_;
  bool gradients_ = false;
  int64_t batch_ = 1;           // windows
  int64_t forward_done_ = 0;    // windows of the shard
  int64_t gradients_done_ = 0;  // windows of the shard
  int64_t batches_ = 0;
  double loss_sum_ = 0;
  double done_ = 0;
  double total_ = 0;
};

}  // namespace

StatusOr<Calibration> Calibrate(const model::CausalLm& lm,
                                const CalibrateOptions& options,
                                const std::function<Status(double)>& report) {
  const at::NoGradGuard no_grad;
  RETURN_IF_ERROR(CheckOptions(lm, options));
  ASSIGN_OR_RETURN(std::vector<SplitIds> splits, ReadSplits(lm, options));
  return Run(lm, options, report, std::move(splits)).Finish();
}

}  // namespace tributary::contributor

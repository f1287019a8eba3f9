#include "contributor/training/run_fingerprint.h"

#include <algorithm>

#include "common/crypto/digest.h"
#include "fmt/ranges.h"

namespace tributary::contributor {
namespace {

using at::Tensor;

// A loss that is this much above the lowest before was on its way out.
constexpr double kRise = 1.2;

void Update(crypto::Sha256& digest, const Tensor& tensor) {
  if (!tensor.defined()) {
    digest.Update("-");
    return;
  }
  const Tensor data = tensor.detach().cpu().contiguous();
  digest.Update(std::string_view(
      static_cast<const char*>(data.const_data_ptr()), data.nbytes()));
}

bool IsFinite(const Tensor& tensor) {
  return tensor.detach().isfinite().all().item<bool>();
}

}  // namespace

std::string RunFingerprint(const model::CausalLm& lm, const TrunkWindows& train,
                           const TrunkWindows& heldout,
                           const std::string& frozen_digest,
                           const TrainedExpert& trained,
                           const TrainerOptions& options) {
  const OptimizerOptions& o = options.optimizer;
  crypto::Sha256 digest;
  digest.Update(fmt::format(
      "2|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|",
      options.seed, options.loss_description, frozen_digest,
      at::get_num_threads(), train.first_layer, o.learning_rate, o.beta1,
      o.beta2, o.epsilon, o.weight_decay, o.clip_norm,
      static_cast<int>(o.schedule), o.warmup_steps, o.final_fraction, o.epochs,
      o.windows_per_step, o.micro_batch_windows, o.validation_steps, o.patience,
      o.min_improvement, fmt::join(o.nested_widths, ","),
      options.rows.trained ? options.rows.z_loss : -1, options.rows.bias));
  Update(digest, train.ids_BS);
  Update(digest, train.documents_BS);
  Update(digest, heldout.ids_BS);
  Update(digest, heldout.documents_BS);
  for (const model::DecoderLayer& layer : lm.layers) {
    Update(digest, layer.router_ED);
    Update(digest, layer.router_bias_E);
  }
  for (const auto& [name, tensor] : trained.leaves()) {
    digest.Update(name);
    Update(digest, tensor);
  }
  return digest.Hex();
}

std::string AnchorIdentity(const model::CausalLm& lm) {
  const auto& c = lm.config;
  crypto::Sha256 digest;
  digest.Update(fmt::format("{}|{}|{}|{}|{}|{}|", c.num_layers, c.hidden_size,
                            c.intermediate_size, c.vocab_size, c.num_heads,
                            c.num_kv_heads));
  const model::DecoderLayer& last = lm.layers.back();
  for (const Tensor& norm :
       {lm.final_norm_D, last.input_norm_D, last.post_attention_norm_D,
        last.post_feedforward_norm_D}) {
    Update(digest, norm);
  }
  return digest.Hex();
}

std::filesystem::path AnchorMark(const std::filesystem::path& expert_path) {
  return expert_path.string() + ".anchor";
}

std::string LikelyCause(const WindowBatch& batch, const TrainedExpert& trained,
                        const std::vector<double>& losses,
                        const TrainerOptions& options) {
  for (size_t w = 0; w < batch.windows.size(); ++w) {
    if (!IsFinite(batch.trunk_BSD[static_cast<int64_t>(w)])) {
      return fmt::format(
          "the stored anchor states of training window {} are not finite: "
          "calibrate again",
          batch.windows[w]);
    }
  }
  if (losses.empty()) {
    for (const auto& [name, tensor] : trained.leaves()) {
      if (!IsFinite(tensor)) {
        return fmt::format(
            "{} of the expert to start from is not finite: make it again",
            name);
      }
    }
  }
  const double rate = options.optimizer.learning_rate;
  if (!losses.empty()) {
    const double lowest = *std::min_element(losses.begin(), losses.end());
    if (losses.back() > kRise * lowest) {
      return fmt::format(
          "the loss had risen from {:.3f} to {:.3f}, the steps are too large: "
          "lower the learning rate (now {}) or lengthen the warm-up (now {} "
          "steps)",
          lowest, losses.back(), rate, options.optimizer.warmup_steps);
    }
  }
  return fmt::format(
      "numbers overflowed inside the model: lower the learning rate (now {})",
      rate);
}

}  // namespace tributary::contributor

#include "coordinator/export/reference_logits.h"

#include <algorithm>

#include "common/model/load_release.h"
#include "common/model/tensor_io.h"
#include "coordinator/export/fold_bias.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using at::Tensor;
using model::CausalLm;

constexpr int64_t kComparedWindows = 2;
constexpr int64_t kComparedLength = 128;
// Two computations of one model in fp32 differ by rounding only.
constexpr double kTolerance = 5e-3;

StatusOr<Tensor> TokensToCompare(const fs::path& anchor, int64_t vocab_size) {
  const fs::path path = anchor / "public" / "tokens.safetensors";
  std::error_code error;
  if (!fs::is_regular_file(path, error)) {
    return at::arange(kComparedWindows * kComparedLength, at::kLong)
        .mul(7919)
        .remainder(vocab_size)
        .view({kComparedWindows, kComparedLength});
  }
  ASSIGN_OR_RETURN(
      const auto file,
      safetensors::File::Open(
          path, {.limits = safetensors::HeaderLimits::ForModel()}));
  ASSIGN_OR_RETURN(const Tensor ids,
                   model::ReadTokenIds(*file, "heldout", vocab_size));
  return ids.narrow(0, 0, std::min(kComparedWindows, ids.size(0)))
      .narrow(1, 0, std::min(kComparedLength, ids.size(1)));
}

Tensor LogitsOf(const CausalLm& lm, const Tensor& ids) {
  at::NoGradGuard no_gradients;
  return model::Logits(lm, model::HiddenStates(lm, ids));
}

std::vector<std::vector<float>> RouterRows(const CausalLm& lm) {
  std::vector<std::vector<float>> rows;
  for (const model::DecoderLayer& layer : lm.layers) {
    if (!layer.router_ED.defined()) {  // the anchor alone: one public row
      rows.emplace_back(static_cast<size_t>(lm.config.hidden_size), 0.0f);
      continue;
    }
    const Tensor host = layer.router_ED.to(at::kCPU, at::kFloat).contiguous();
    const float* data = host.const_data_ptr<float>();
    rows.emplace_back(data, data + host.numel());
  }
  return rows;
}

double LargestDifference(const Tensor& a, const Tensor& b) {
  return (a - b).abs().max().item<double>();
}

}  // namespace

StatusOr<Reference> MakeReference(const fs::path& release,
                                  const fs::path& public_statistics,
                                  const model::LoadOptions& load) {
  ASSIGN_OR_RETURN(CausalLm lm, model::LoadRelease(release, load));
  Reference result;
  ASSIGN_OR_RETURN(result.ids_BS,
                   TokensToCompare(model::ModelFilesDirectory(release),
                                   lm.config.vocab_size));
  result.logits_BSV = LogitsOf(lm, result.ids_BS);
  if (HasBiases(lm)) {
    const Tensor unfolded = result.logits_BSV;
    RETURN_IF_ERROR(FoldBiases(lm, public_statistics));
    result.logits_BSV = LogitsOf(lm, result.ids_BS);
    result.max_fold_difference = LargestDifference(result.logits_BSV, unfolded);
  }
  result.rows = RouterRows(lm);
  result.config = lm.config;
  result.rope_frequencies = lm.rope_frequencies;
  result.top_k = std::min(lm.top_k, std::max<int64_t>(1, lm.num_experts()));
  result.renormalise = lm.renormalise;
  return result;
}

StatusOr<double> CompareLogits(const CausalLm& written,
                               const Reference& reference) {
  const double difference = LargestDifference(
      LogitsOf(written, reference.ids_BS), reference.logits_BSV);
  if (!(difference <= kTolerance)) {
    return DataLoss(
        "the exported model's logits differ by {:.3g} from the release's, "
        "wanted at most {:.3g}; nothing was exported",
        difference, kTolerance);
  }
  return difference;
}

}  // namespace tributary::coordinator

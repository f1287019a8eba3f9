#include "contributor/export/low_rank_factors.h"

#include <utility>

#include "ATen/ATen.h"
#include "ATen/core/grad_mode.h"
#include "common/model/channel_match.h"
#include "common/model/errors.h"
#include "common/model/load.h"
#include "common/model_format/parameter_names.h"

namespace tributary::contributor {
namespace {

using at::Tensor;
using model::Ffn;
using model_format::MlpPart;

std::vector<std::byte> Bf16Bytes(const Tensor& tensor) {
  const Tensor narrow = tensor.to(at::kBFloat16).contiguous();
  const auto* begin = static_cast<const std::byte*>(narrow.data_ptr());
  return {begin, begin + narrow.nbytes()};
}

// The expert with channel c at the place of the anchor's channel that it
// started from.
Ffn InOrderOf(const Ffn& anchor, const Ffn& expert) {
  const std::vector<int64_t> match = model::MatchChannels(expert, anchor);
  Tensor place = at::empty({expert.width()}, at::kLong);
  for (size_t i = 0; i < match.size(); ++i) {
    place[match[i]] = static_cast<int64_t>(i);
  }
  return {.gate_FD = expert.gate_FD.index_select(0, place),
          .up_FD = expert.up_FD.index_select(0, place),
          .down_DF = expert.down_DF.index_select(1, place)};
}

}  // namespace

StatusOr<std::map<std::string, std::vector<std::byte>>> LowRankFactors(
    const std::filesystem::path& model_directory,
    const std::filesystem::path& expert_path,
    const std::filesystem::path& router_path, int64_t rank) {
  using Factors = std::map<std::string, std::vector<std::byte>>;
  return model::CatchTorch([&]() -> StatusOr<Factors> {
    at::NoGradGuard no_gradients;
    ASSIGN_OR_RETURN(const model::CausalLm anchor,
                     model::LoadModel(model_directory));
    ASSIGN_OR_RETURN(
        const model::Expert expert,
        model::LoadExpert(anchor.config, expert_path, router_path));
    Factors factors;
    for (size_t l = 0; l < expert.layers.size(); ++l) {
      const Ffn& base = anchor.layers[l].ffn;
      if (!expert.layers[l] || expert.layers[l]->width() != base.width()) {
        continue;
      }
      const Ffn own = InOrderOf(base, *expert.layers[l]);
      for (const auto& [part, matrix] :
           {std::pair{MlpPart::kGate, &Ffn::gate_FD},
            std::pair{MlpPart::kUp, &Ffn::up_FD},
            std::pair{MlpPart::kDown, &Ffn::down_DF}}) {
        if (!at::isfinite(own.*matrix).all().item<bool>()) {
          return InvalidArgument(
              "{}: layer {} has values that are not finite; train again with a "
              "lower learning rate",
              expert_path.string(), l);
        }
        const auto [u, s, vh] = at::linalg_svd(own.*matrix - base.*matrix,
                                               /*full_matrices=*/false);
        const Tensor root = s.narrow(0, 0, rank).sqrt();
        const auto layer = static_cast<int64_t>(l);
        factors[model_format::ExpertFactorA(layer, part)] =
            Bf16Bytes(vh.narrow(0, 0, rank) * root.unsqueeze(1));
        factors[model_format::ExpertFactorB(layer, part)] =
            Bf16Bytes(u.narrow(1, 0, rank) * root);
      }
    }
    return factors;
  });
}

}  // namespace tributary::contributor

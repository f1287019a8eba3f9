#include "coordinator/validation/evaluate_release.h"

#include "common/model/errors.h"
#include "common/model/tensor_io.h"
#include "coordinator/validation/anchor_statistics.h"

namespace tributary::coordinator {
namespace {

using at::Tensor;

StatusOr<ReleaseEvaluation> Run(const EvaluateReleaseOptions& options) {
  ASSIGN_OR_RETURN(const model::CausalLm release,
                   model::LoadSource(options.release, options.load));
  std::string anchor_digest;
  {
    ASSIGN_OR_RETURN(const model::CausalLm anchor,
                     model::LoadModel(options.anchor_directory, options.load));
    ASSIGN_OR_RETURN(anchor_digest, model::DigestFrozen(anchor));
  }
  ASSIGN_OR_RETURN(const std::string digest, model::DigestFrozen(release));
  if (digest != anchor_digest) {
    return DataLoss(
        "{}: its anchor differs from {}: wanted the same weights bit for bit",
        options.release.directory.string(), options.anchor_directory.string());
  }
  ASSIGN_OR_RETURN(const auto file,
                   safetensors::File::Open(
                       options.public_tokens_path,
                       {.limits = safetensors::HeaderLimits::ForModel()}));
  ASSIGN_OR_RETURN(
      const Tensor heldout,
      model::ReadTokenIds(*file, kHeldoutClass, release.config.vocab_size));

  // The anchor is the release without its experts; below the first layer
  // that routes they are the same computation.
  model::CausalLm anchor = release;
  int64_t first = release.num_layers();
  for (int64_t l = release.num_layers() - 1; l >= 0; --l) {
    if (release.layers[static_cast<size_t>(l)].routes()) {
      first = l;
    }
    anchor.layers[static_cast<size_t>(l)].experts.clear();
  }
  ReleaseEvaluation result;
  at::NoGradGuard no_gradients;
  for (int64_t w = 0; w < heldout.size(0); ++w) {
    const Tensor ids = heldout.narrow(0, w, 1);
    const evaluation::LogLossOptions window = {
        .trunk_WSD =
            model::RunLayers(anchor, model::Embed(anchor, ids), 0, first),
        .first_layer = first,
        .cancellation = options.load.cancellation};
    ASSIGN_OR_RETURN(const auto before,
                     evaluation::EvaluateWindows(anchor, ids, window));
    ASSIGN_OR_RETURN(const auto after,
                     evaluation::EvaluateWindows(release, ids, window));
    result.anchor.Append(before);
    result.release.Append(after);
    if (options.on_progress) {
      options.on_progress(
          static_cast<double>(w + 1) / static_cast<double>(heldout.size(0)),
          "log-loss");
    }
  }
  return result;
}

}  // namespace

StatusOr<ReleaseEvaluation> EvaluateRelease(
    const EvaluateReleaseOptions& options) {
  return model::CatchTorch([&] { return Run(options); });
}

}  // namespace tributary::coordinator

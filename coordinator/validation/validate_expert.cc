#include "coordinator/validation/validate_expert.h"

#include "common/model/errors.h"
#include "common/model/expert_beside.h"
#include "common/model/tensor_io.h"
#include "common/model_format/model_config.h"
#include "coordinator/validation/anchor_statistics.h"
#include "coordinator/validation/gates.h"
#include "coordinator/validation/router_statistics.h"

namespace tributary::coordinator {
namespace {

StatusOr<std::shared_ptr<const safetensors::File>> OpenPublic(
    const std::filesystem::path& path) {
  return safetensors::File::Open(
      path, {.limits = safetensors::HeaderLimits::ForModel()});
}

StatusOr<std::vector<GateResult>> Run(const ValidateExpertOptions& options) {
  const auto report = [&](double fraction, const char* gate) {
    if (options.on_progress) {
      options.on_progress(fraction, gate);
    }
  };
  std::vector<GateResult> gates;
  ASSIGN_OR_RETURN(const model_format::ModelConfig config,
                   model_format::LoadModelConfig(options.model_directory));
  report(0.0, "file");
  std::shared_ptr<const safetensors::File> file;
  gates.push_back(CheckFile(config, options, &file));
  if (!gates.back().passed) {
    return gates;
  }
  report(0.1, "values");
  ASSIGN_OR_RETURN(const model::CausalLm anchor,
                   model::LoadModel(options.model_directory, options.load));
  // What is checked from here on are the matrices that tokens will meet.
  ASSIGN_OR_RETURN(
      const model::Expert expert,
      model::LoadExpertBeside(anchor, options.expert_path, {}, options.load));
  ASSIGN_OR_RETURN(GateResult values,
                   CheckValues(anchor, expert, options.limits));
  gates.push_back(std::move(values));
  if (!gates.back().passed) {
    return gates;
  }
  report(0.2, "router");
  ASSIGN_OR_RETURN(const auto statistics,
                   OpenPublic(options.public_statistics_path));
  ASSIGN_OR_RETURN(GateResult router,
                   CheckRouter(expert, *statistics, options.limits));
  gates.push_back(std::move(router));
  if (!gates.back().passed) {
    return gates;
  }
  if (!options.router_statistics_path.empty()) {
    report(0.22, "statistics");
    gates.push_back(CheckRouterStatistics(
        options.router_statistics_path, config.num_layers, config.hidden_size,
        *statistics, options.limits.max_rms_ratio));
    if (!gates.back().passed) {
      return gates;
    }
  }
  report(0.25, "behaviour");
  ASSIGN_OR_RETURN(GateResult behaviour,
                   CheckBehaviour(anchor, expert, *statistics, options.limits));
  gates.push_back(std::move(behaviour));
  if (!gates.back().passed) {
    return gates;
  }
  report(0.3, "evaluation");
  ASSIGN_OR_RETURN(const auto tokens, OpenPublic(options.public_tokens_path));
  ASSIGN_OR_RETURN(
      const at::Tensor heldout,
      model::ReadTokenIds(*tokens, kHeldoutClass, config.vocab_size));
  ASSIGN_OR_RETURN(GateResult evaluated,
                   CheckEvaluation(anchor, expert, heldout, options));
  gates.push_back(std::move(evaluated));
  return gates;
}

}  // namespace

StatusOr<std::vector<GateResult>> ValidateExpert(
    const ValidateExpertOptions& options) {
  return model::CatchTorch([&] { return Run(options); });
}

}  // namespace tributary::coordinator

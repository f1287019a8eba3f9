#pragma once

// The gates of admission that open an expert file, which comes from a
// stranger: cheap and certain checks first, each on what the one before let
// through.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/model/load.h"

namespace tributary::coordinator {

struct ValidationLimits {
  // Highest rise of public log-loss, nats per token.
  double max_public_loss_increase = 0.05;
  // Highest mean share of public prose that the rows capture, 0 to 1.
  double max_public_share = 0.25;
  // Highest RMS and largest absolute value of a tensor over those of the
  // anchor's tensor in its place.
  double max_rms_ratio = 8;
  double max_absolute_ratio = 32;
  // Highest Euclidean norm of a router row.
  double max_row_norm = 100;
  // Highest norm of the expert's output over that of the anchor's FFN for the
  // same token of public prose, and its highest mean.
  double max_output_ratio = 16;
  double max_mean_output_ratio = 2;
};

struct ValidateExpertOptions {
  std::filesystem::path model_directory;
  std::filesystem::path expert_path;
  // What the manifest says, one per layer of the model.
  std::vector<int64_t> widths;
  // `heldout` int32 [W, S].
  std::filesystem::path public_tokens_path;
  // `layers.{l}.prose` [tokens, D].
  std::filesystem::path public_statistics_path;
  // Statistics for a ridge router (router_statistics.h); empty: none came.
  std::filesystem::path router_statistics_path;
  ValidationLimits limits;
  model::LoadOptions load;
  std::function<void(double, const std::string&)> on_progress;
};

struct Measurement {
  std::string name;
  double value = 0;
  std::optional<double> minimum;
  std::optional<double> maximum;
};

struct GateResult {
  // file, values, router, statistics, behaviour, evaluation
  std::string name;
  bool passed = false;
  std::string detail;  // one sentence
  std::vector<Measurement> measurements;
};

// The gates that ran, in order; the first that fails is the last. What is
// wrong with the expert is a failed gate; an error is about the anchor, the
// public files or the machine.
StatusOr<std::vector<GateResult>> ValidateExpert(
    const ValidateExpertOptions& options);

}  // namespace tributary::coordinator

#pragma once

// A release beside other ways to make one model of the same experts, all on
// the same windows of text.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/base/json.h"
#include "common/base/status.h"
#include "common/model/load.h"

namespace tributary::coordinator {

struct ComparedText {
  std::string name;
  std::vector<std::filesystem::path> paths;
  std::string contribution;  // whose text it is; empty: nobody's
};

struct CompareOptions {
  std::filesystem::path release_directory;
  std::vector<ComparedText> texts;
  int64_t window_tokens = 256;
  int64_t max_windows = 16;  // of each text
  // public/tokens.safetensors: what routers and copies are trained on, and
  // `heldout`, measured as "public". Empty: neither.
  std::filesystem::path public_tokens_path;
  // Below 1: the mix with a fresh router, or the upcycled copies, are left out.
  int router_epochs = 2;
  int64_t upcycling_steps = 64;
  double router_learning_rate = 2e-3;
  double upcycling_learning_rate = 2e-4;
  uint64_t seed = 0;
  // For files of its own, which it removes.
  std::filesystem::path scratch_directory;
  model::LoadOptions load;
  std::function<void(double, const std::string&)> on_progress;
};

// The comparison as docs/releases.md describes it. FAILED_PRECONDITION for a
// release without experts; INVALID_ARGUMENT for a text without a window of 2
// tokens, of a contribution that the release does not have, or named twice;
// otherwise as LoadRelease, ReadDocuments, TuneRouter and TrainCopies.
StatusOr<Json> CompareRelease(const CompareOptions& options);

}  // namespace tributary::coordinator

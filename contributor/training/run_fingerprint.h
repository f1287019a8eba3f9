#pragma once

#include <string>

#include "contributor/training/trainer.h"

namespace tributary::contributor {

// SHA-256 over everything that decides how a run goes: a checkpoint is of a run
// when it has the same. `frozen_digest` is model::DigestFrozen.
std::string RunFingerprint(const model::CausalLm& lm, const TrunkWindows& train,
                           const TrunkWindows& heldout,
                           const std::string& frozen_digest,
                           const TrainedExpert& trained,
                           const TrainerOptions& options);

// Which anchor an expert belongs to, as far as a file of ours can tell: SHA-256
// over the model's shape and its last norms, the same whatever layers are
// loaded and however weights are stored.
std::string AnchorIdentity(const model::CausalLm& lm);
// Where training writes that identity beside an expert's file, one line.
std::filesystem::path AnchorMark(const std::filesystem::path& expert_path);

// What may have made a loss or a gradient stop being finite, and what to do,
// for a person. `losses` are those of the steps before.
std::string LikelyCause(const WindowBatch& batch, const TrainedExpert& trained,
                        const std::vector<double>& losses,
                        const TrainerOptions& options);

}  // namespace tributary::contributor

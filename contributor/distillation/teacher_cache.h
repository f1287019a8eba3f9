#pragma once

// What a teacher says about every position of the training windows, computed
// once and kept in a file: `ids_low` int16 and, for vocabularies above 65,536,
// `ids_high` uint8 [windows, positions, 128] (the lower 16 bits and the rest of
// the token ids), `log_probabilities` fp16 of the same shape, `log_tail` fp32
// [windows, positions] (log of the mass of all other tokens) and `logsumexp`
// fp32 (over the whole vocabulary): 520 to 648 bytes a position.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "contributor/distillation/distillation_loss.h"
#include "contributor/training/trunk_windows.h"

namespace tributary::contributor {

inline constexpr int64_t kTeacherTokens = 128;

class TeacherCache {
 public:
  // Runs `teacher` over the windows and writes the file, unless the one that is
  // there has this fingerprint. CANCELLED when `report` (fraction done) says
  // so; throws as LibTorch does.
  static StatusOr<TeacherCache> Make(
      const model::CausalLm& teacher, const TrunkWindows& data,
      const std::filesystem::path& path, const std::string& fingerprint,
      const std::function<Status(double)>& report);

  // Whether a file is there and has this fingerprint.
  static bool IsOf(const std::filesystem::path& path,
                   const std::string& fingerprint);

  // The targets of some windows, T = windows * positions.
  TeacherTargets Take(const std::vector<int64_t>& windows) const;

  // Whether the file was there already.
  bool reused() const { return reused_; }

 private:
  TeacherCache() = default;
  Status Load(const std::filesystem::path& path, const TrunkWindows& data,
              int64_t vocab_size);

  at::Device device_ = at::kCPU;
  bool reused_ = false;
  at::Tensor ids_low_;            // mapped
  at::Tensor ids_high_;           // mapped or undefined
  at::Tensor log_probabilities_;  // mapped
  at::Tensor log_tail_;           // mapped
};

}  // namespace tributary::contributor

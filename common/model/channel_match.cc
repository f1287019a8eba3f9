#include "common/model/channel_match.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <numeric>

#include "ATen/core/grad_mode.h"

namespace tributary::model {
namespace {

// [F, 3 D], each row of norm 1.
Tensor Directions(const Ffn& ffn) {
  const Tensor rows =
      at::cat({ffn.gate_FD.to(at::kFloat), ffn.up_FD.to(at::kFloat),
               ffn.down_DF.t().to(at::kFloat)},
              1);
  return rows / rows.norm(2, 1, /*keepdim=*/true).clamp_min(1e-12);
}

}  // namespace

std::vector<int64_t> MatchChannels(const Ffn& expert, const Ffn& anchor) {
  TORCH_CHECK(expert.width() <= anchor.width(), "an expert of ", expert.width(),
              " channels has no match in ", anchor.width());
  at::NoGradGuard no_gradients;
  const Tensor alike = at::mm(Directions(expert), Directions(anchor).t())
                           .to(at::kCPU)
                           .contiguous();
  const auto [best, where] = alike.max(1);
  const auto width = static_cast<size_t>(expert.width());
  const auto channels = static_cast<size_t>(anchor.width());
  const float* values = best.data_ptr<float>();
  std::vector<size_t> order(width);
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [values](size_t a, size_t b) {
    return values[a] > values[b];
  });
  std::vector<bool> taken(channels, false);
  std::vector<int64_t> match(width);
  for (const size_t channel : order) {
    auto chosen = static_cast<size_t>(where.data_ptr<int64_t>()[channel]);
    if (taken[chosen]) {
      const float* row = alike.data_ptr<float>() + channel * channels;
      float highest = -std::numeric_limits<float>::infinity();
      for (size_t c = 0; c < channels; ++c) {
        if (!taken[c] && (row[c] > highest || taken[chosen])) {
          highest = row[c];
          chosen = c;
        }
      }
    }
    taken[chosen] = true;
    match[channel] = static_cast<int64_t>(chosen);
  }
  return match;
}

}  // namespace tributary::model

#include "common/kernels/head_blocks.h"

#include <algorithm>

#include "common/kernels/parallel.h"

namespace tributary::kernels {

using at::Tensor;

HeadExponentials ExponentiateHead(const Tensor& hidden_TD,
                                  const Tensor& head_VD, bool weighted,
                                  VisitLogits visit) {
  const int64_t tokens = hidden_TD.size(0);
  const int64_t width = hidden_TD.size(1);
  const int64_t vocabulary = head_VD.size(0);
  const int64_t columns = HeadBlockColumns(tokens, vocabulary);
  HeadExponentials result = {.sums_T = std::vector<ShiftAndSum>(tokens)};
  float* sums = nullptr;
  if (weighted) {
    result.weighted_TD = at::empty({tokens, width}, hidden_TD.options());
    sums = result.weighted_TD.mutable_data_ptr<float>();
  }
  const Tensor buffer = at::empty({tokens * columns}, hidden_TD.options());
  for (int64_t first = 0; first < vocabulary; first += columns) {
    const int64_t count = std::min(columns, vocabulary - first);
    const Tensor head = head_VD.narrow(0, first, count);
    Tensor logits = buffer.narrow(0, 0, tokens * count).view({tokens, count});
    at::mm_out(logits, hidden_TD, head.t());
    float* data = logits.mutable_data_ptr<float>();
    ParallelFor(0, tokens, GrainOf(count), [&](int64_t begin, int64_t end) {
      for (int64_t t = begin; t < end; ++t) {
        float* row = data + t * count;
        visit(t, row, first, count);
        const float scale = ExponentiateRow(row, count, &result.sums_T[t]);
        if (weighted && first > 0 && scale != 1) {
          MultiplyRow(sums + t * width, scale, width);
        }
      }
    });
    if (weighted && first == 0) {
      at::mm_out(result.weighted_TD, logits, head);
    } else if (weighted) {
      result.weighted_TD.addmm_(logits, head);
    }
  }
  return result;
}

int64_t HeadBlockColumns(int64_t tokens, int64_t vocabulary) {
  // Products with fewer columns run at a lower rate.
  constexpr int64_t kFewest = 512;
  constexpr int64_t kElements = 8 << 20;
  const int64_t most = std::max(
      std::min(kFewest, vocabulary),
      std::min(vocabulary / 24, kElements / std::max<int64_t>(1, tokens)));
  const int64_t blocks = (vocabulary + most - 1) / std::max<int64_t>(1, most);
  return blocks > 0 ? (vocabulary + blocks - 1) / blocks : 1;
}

}  // namespace tributary::kernels

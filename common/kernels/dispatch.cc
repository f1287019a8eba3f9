#include "common/kernels/dispatch.h"

#include <torch/torch.h>

#include <algorithm>

#include "ATen/Parallel.h"
#include "common/kernels/vector_loops.h"

namespace tributary::kernels {

using at::Tensor;

Tensor ChooseExperts(const Tensor& p_TE, int64_t k) {
  const Tensor p = p_TE.detach().to(at::kCPU, at::kFloat).contiguous();
  const int64_t tokens = p.size(0);
  const int64_t experts = p.size(1);
  TORCH_CHECK(k >= 1 && k <= experts, "cannot choose ", k, " of ", experts,
              " experts");
  Tensor ids = at::empty({tokens, k}, p.options().dtype(at::kLong));
  const float* from = p.const_data_ptr<float>();
  int64_t* to = ids.mutable_data_ptr<int64_t>();
  at::parallel_for(0, tokens, 256, [&](int64_t begin, int64_t end) {
    std::vector<float> values(k);
    for (int64_t token = begin; token < end; ++token) {
      const float* row = from + token * experts;
      int64_t* chosen = to + token * k;
      int64_t count = 0;
      for (int64_t e = 0; e < experts; ++e) {
        if (count == k && !(row[e] > values[k - 1])) {
          continue;
        }
        int64_t at = count < k ? count++ : k - 1;
        for (; at > 0 && row[e] > values[at - 1]; --at) {
          values[at] = values[at - 1];
          chosen[at] = chosen[at - 1];
        }
        values[at] = row[e];
        chosen[at] = e;
      }
      std::sort(chosen, chosen + k);
    }
  });
  return ids.to(p_TE.device());
}

Dispatch SortByExpert(const Tensor& ids_TK, const std::vector<bool>& merged) {
  const Tensor ids = ids_TK.to(at::kCPU).contiguous();
  const int64_t tokens = ids.size(0);
  const int64_t k = ids.size(1);
  const int64_t experts = static_cast<int64_t>(merged.size());
  const int64_t* id = ids.const_data_ptr<int64_t>();
  std::vector<int64_t> counts(experts, 0);
  int64_t merged_count = 0;
  for (int64_t token = 0; token < tokens; ++token) {
    bool any = false;
    for (int64_t slot = token * k; slot < (token + 1) * k; ++slot) {
      TORCH_CHECK(id[slot] >= 0 && id[slot] < experts, "no expert ", id[slot]);
      if (merged[id[slot]]) {
        any = true;
      } else {
        ++counts[id[slot]];
      }
    }
    merged_count += any ? 1 : 0;
  }
  Dispatch dispatch;
  dispatch.merged_tokens = at::empty({merged_count}, ids.options());
  int64_t* merged_next = dispatch.merged_tokens.mutable_data_ptr<int64_t>();
  std::vector<int64_t*> next_token(experts, nullptr);
  std::vector<int64_t*> next_slot(experts, nullptr);
  for (int64_t e = 0; e < experts; ++e) {
    if (counts[e] > 0) {
      dispatch.experts.push_back({e, at::empty({counts[e]}, ids.options()),
                                  at::empty({counts[e]}, ids.options())});
      next_token[e] =
          dispatch.experts.back().tokens.mutable_data_ptr<int64_t>();
      next_slot[e] = dispatch.experts.back().slots.mutable_data_ptr<int64_t>();
    }
  }
  for (int64_t token = 0; token < tokens; ++token) {
    bool any = false;
    for (int64_t slot = token * k; slot < (token + 1) * k; ++slot) {
      if (merged[id[slot]]) {
        any = true;
      } else {
        *next_token[id[slot]]++ = token;
        *next_slot[id[slot]]++ = slot;
      }
    }
    if (any) {
      *merged_next++ = token;
    }
  }
  if (!ids_TK.device().is_cpu()) {
    dispatch.merged_tokens = dispatch.merged_tokens.to(ids_TK.device());
    for (ExpertTokens& expert : dispatch.experts) {
      expert.tokens = expert.tokens.to(ids_TK.device());
      expert.slots = expert.slots.to(ids_TK.device());
    }
  }
  return dispatch;
}

Tensor AddWeightedRows(Tensor y_TD, const Tensor& tokens, const Tensor& x,
                       const Tensor& weights) {
  const bool gradients =
      at::GradMode::is_enabled() &&
      (x.requires_grad() || y_TD.requires_grad() || weights.requires_grad());
  if (gradients) {
    return y_TD.index_add(0, tokens, x * weights.unsqueeze(1).to(x.dtype()));
  }
  if (!x.device().is_cpu() || x.scalar_type() != at::kFloat ||
      y_TD.scalar_type() != at::kFloat || weights.scalar_type() != at::kFloat ||
      !y_TD.is_contiguous()) {
    return y_TD.index_add_(0, tokens, x * weights.unsqueeze(1).to(x.dtype()));
  }
  const Tensor rows = x.contiguous();
  const Tensor w = weights.contiguous();
  const int64_t width = rows.size(1);
  const int64_t* token = tokens.const_data_ptr<int64_t>();
  const float* from = rows.const_data_ptr<float>();
  const float* weight = w.const_data_ptr<float>();
  float* to = y_TD.mutable_data_ptr<float>();
  at::parallel_for(0, rows.size(0), 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      AddScaledRow(from + i * width, weight[i], width, to + token[i] * width);
    }
  });
  return y_TD;
}

}  // namespace tributary::kernels

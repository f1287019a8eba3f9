#include "common/kernels/dispatch.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ATen/core/grad_mode.h"
#include "common/kernels/choose_row.h"
#include "common/kernels/parallel.h"
#include "common/kernels/vector_loops.h"
#ifdef TRIBUTARY_CUDA_KERNELS
#include "common/kernels/combine_rows_gpu.h"
#endif

namespace tributary::kernels {
namespace {

using at::Tensor;

// ChooseOfRow by tensor operations, where the values are not on the host.
Tensor ChooseOnDevice(const Tensor& p_TE, int64_t k) {
  const Tensor order =
      std::get<1>(at::sort(p_TE, /*stable=*/true, -1, /*descending=*/true));
  return std::get<0>(at::sort(order.narrow(1, 0, k), -1));
}

void CheckCount(int64_t k, int64_t experts) {
  TORCH_CHECK(k >= 1 && k <= experts, "cannot choose ", k, " of ", experts,
              " experts");
}

}  // namespace

Tensor ChooseExperts(const Tensor& p_TE, int64_t k) {
  const int64_t tokens = p_TE.size(0);
  const int64_t experts = p_TE.size(1);
  CheckCount(k, experts);
  if (!p_TE.device().is_cpu()) {
    return ChooseOnDevice(p_TE.detach(), k);
  }
  const Tensor p = p_TE.detach().to(at::kFloat).contiguous();
  Tensor ids = at::empty({tokens, k}, p.options().dtype(at::kLong));
  const float* from = p.const_data_ptr<float>();
  int64_t* to = ids.mutable_data_ptr<int64_t>();
  ParallelFor(0, tokens, GrainOf(experts), [&](int64_t begin, int64_t end) {
    std::vector<float> values(k);
    for (int64_t token = begin; token < end; ++token) {
      ChooseOfRow(from + token * experts, experts, k, values.data(),
                  to + token * k);
    }
  });
  return ids;
}

Choice ChooseByLogits(const Tensor& logits_TE, int64_t k, bool renormalise) {
  const int64_t tokens = logits_TE.size(0);
  const int64_t experts = logits_TE.size(1);
  CheckCount(k, experts);
  if (!logits_TE.device().is_cpu()) {
    const Tensor p = at::softmax(logits_TE.to(at::kFloat), -1);
    const Tensor ids = ChooseOnDevice(p, k);
    const Tensor chosen = p.gather(1, ids);
    return {ids, renormalise ? chosen / chosen.sum(-1, true) : chosen};
  }
  const Tensor logits = logits_TE.to(at::kFloat).contiguous();
  Choice choice = {
      .ids_TK = at::empty({tokens, k}, logits.options().dtype(at::kLong)),
      .weights_TK = at::empty({tokens, k}, logits.options())};
  const float* from = logits.const_data_ptr<float>();
  int64_t* ids = choice.ids_TK.mutable_data_ptr<int64_t>();
  float* weights = choice.weights_TK.mutable_data_ptr<float>();
  ParallelFor(0, tokens, GrainOf(2 * experts), [&](int64_t begin, int64_t end) {
    std::vector<float> values(k);
    for (int64_t token = begin; token < end; ++token) {
      const float* row = from + token * experts;
      int64_t* chosen = ids + token * k;
      float* weight = weights + token * k;
      ChooseOfRow(row, experts, k, values.data(), chosen);
      const MaxAndSum all = SumOfExponentials(row, experts);
      double sum = all.sum;
      if (renormalise) {
        sum = 0;
        for (int64_t i = 0; i < k; ++i) {
          sum += std::exp(static_cast<double>(row[chosen[i]]) - all.largest);
        }
      }
      for (int64_t i = 0; i < k; ++i) {
        weight[i] = static_cast<float>(
            std::exp(static_cast<double>(row[chosen[i]]) - all.largest) / sum);
      }
    }
  });
  return choice;
}

Dispatch SortByExpert(const Tensor& ids_TK, const std::vector<bool>& merged) {
  const Tensor ids = ids_TK.to(at::kCPU).contiguous();
  const int64_t tokens = ids.size(0);
  const int64_t k = ids.size(1);
  const int64_t experts = static_cast<int64_t>(merged.size());
  const int64_t* id = ids.const_data_ptr<int64_t>();
  // Counts of the merged experts at 0, of expert e at e + 1.
  std::vector<int64_t> counts(experts + 1, 0);
  for (int64_t token = 0; token < tokens; ++token) {
    bool any = false;
    for (int64_t slot = token * k; slot < (token + 1) * k; ++slot) {
      TORCH_CHECK(id[slot] >= 0 && id[slot] < experts, "no expert ", id[slot]);
      if (!merged[id[slot]]) {
        ++counts[id[slot] + 1];
      } else if (!any) {
        any = true;
        ++counts[0];
      }
    }
  }
  Dispatch dispatch;
  std::vector<int64_t> next(experts + 1);
  int64_t rows = 0;
  for (int64_t e = 0; e <= experts; ++e) {
    next[e] = rows;
    if (counts[e] > 0) {
      dispatch.experts.push_back({.expert = e == 0 ? kMergedExperts : e - 1,
                                  .begin = rows,
                                  .count = counts[e]});
    }
    rows += counts[e];
  }
  dispatch.tokens_N = at::empty({rows}, ids.options());
  dispatch.rows_TK = at::empty_like(ids);
  int64_t* token_of = dispatch.tokens_N.mutable_data_ptr<int64_t>();
  int64_t* row_of = dispatch.rows_TK.mutable_data_ptr<int64_t>();
  for (int64_t token = 0; token < tokens; ++token) {
    int64_t merged_row = -1;
    for (int64_t slot = token * k; slot < (token + 1) * k; ++slot) {
      int64_t row = merged_row;
      if (!merged[id[slot]]) {
        row = next[id[slot] + 1]++;
      } else if (merged_row < 0) {
        row = merged_row = next[0]++;
      }
      token_of[row] = token;
      row_of[slot] = row;
    }
  }
  if (!ids_TK.device().is_cpu()) {
    dispatch.tokens_N = dispatch.tokens_N.to(ids_TK.device());
    dispatch.rows_TK = dispatch.rows_TK.to(ids_TK.device());
  }
  return dispatch;
}

void GatherRows(Tensor& out_ND, const Tensor& x_TD, const Tensor& tokens_N) {
  if (!x_TD.device().is_cpu() || !x_TD.is_contiguous() ||
      !out_ND.is_contiguous() || x_TD.scalar_type() != out_ND.scalar_type()) {
    out_ND.copy_(x_TD.index_select(0, tokens_N));
    return;
  }
  const auto bytes = static_cast<size_t>(x_TD.size(1) * x_TD.element_size());
  const auto* from = static_cast<const char*>(x_TD.const_data_ptr());
  auto* to = static_cast<char*>(out_ND.mutable_data_ptr());
  const int64_t* token = tokens_N.const_data_ptr<int64_t>();
  ParallelFor(0, tokens_N.numel(), GrainOf(x_TD.size(1)),
              [&](int64_t begin, int64_t end) {
                for (int64_t i = begin; i < end; ++i) {
                  std::memcpy(to + i * bytes, from + token[i] * bytes, bytes);
                }
              });
}

Tensor CombineRows(const Tensor& out_ND, const Tensor& rows_TK,
                   const Tensor& weights_TK) {
  const int64_t tokens = rows_TK.size(0);
  const int64_t k = rows_TK.size(1);
  const int64_t width = out_ND.size(1);
  const bool gradients = at::GradMode::is_enabled() &&
                         (out_ND.requires_grad() || weights_TK.requires_grad());
#ifdef TRIBUTARY_CUDA_KERNELS
  if (!gradients && out_ND.device().is_cuda() &&
      (out_ND.scalar_type() == at::kFloat ||
       out_ND.scalar_type() == at::kBFloat16)) {
    return CombineRowsOnGpu(out_ND, rows_TK, weights_TK);
  }
#endif
  if (gradients || !out_ND.device().is_cpu() ||
      out_ND.scalar_type() != at::kFloat || !out_ND.is_contiguous() ||
      weights_TK.scalar_type() != at::kFloat) {
    return (out_ND.index_select(0, rows_TK.flatten()).view({tokens, k, width}) *
            weights_TK.unsqueeze(-1).to(out_ND.scalar_type()))
        .sum(1);
  }
  const Tensor dense_rows = rows_TK.contiguous();
  const Tensor dense_weights = weights_TK.contiguous();
  Tensor y = at::empty({tokens, width}, out_ND.options());
  const float* from = out_ND.const_data_ptr<float>();
  const int64_t* row = dense_rows.const_data_ptr<int64_t>();
  const float* weight = dense_weights.const_data_ptr<float>();
  float* to = y.mutable_data_ptr<float>();
  ParallelFor(0, tokens, GrainOf(k * width), [&](int64_t begin, int64_t end) {
    std::vector<const float*> sources(k);
    for (int64_t t = begin; t < end; ++t) {
      for (int64_t i = 0; i < k; ++i) {
        sources[i] = from + row[t * k + i] * width;
      }
      WeightedSum(sources.data(), weight + t * k, k, width, to + t * width);
    }
  });
  return y;
}

}  // namespace tributary::kernels

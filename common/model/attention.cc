#include "common/model/attention.h"

#include <cmath>
#include <numbers>

#include "ATen/core/grad_mode.h"
#include "common/kernels/frozen_linear.h"
#include "common/kernels/products.h"
#include "common/kernels/rms_norm.h"

namespace tributary::model {
namespace {

using model_format::ModelConfig;
using model_format::RopeScaling;

double ScaledFrequency(const model_format::Rope& rope, double frequency) {
  switch (rope.scaling) {
    case RopeScaling::kNone:
      return frequency;
    case RopeScaling::kLinear:
      return frequency / rope.factor;
    case RopeScaling::kLlama3:
      break;
  }
  const auto context =
      static_cast<double>(rope.original_max_position_embeddings);
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength < context / rope.high_freq_factor) {
    return frequency;
  }
  if (wavelength > context / rope.low_freq_factor) {
    return frequency / rope.factor;
  }
  const double kept = (context / wavelength - rope.low_freq_factor) /
                      (rope.high_freq_factor - rope.low_freq_factor);
  return (1 - kept) * frequency / rope.factor + kept * frequency;
}

// GroupedAttention for windows that hold several documents each.
Tensor DocumentAttention(const Tensor& q, const Tensor& k, const Tensor& v,
                         const DocumentLengths& documents) {
  TORCH_CHECK(static_cast<int64_t>(documents.size()) == q.size(0), "got ",
              documents.size(), " windows with documents, wanted ", q.size(0));
  const std::vector<Tensor> q_windows = q.split(1);
  const std::vector<Tensor> k_windows = k.split(1);
  const std::vector<Tensor> v_windows = v.split(1);
  std::vector<Tensor> windows;
  for (size_t b = 0; b < documents.size(); ++b) {
    const auto& lengths = documents[b];
    const auto queries = q_windows[b].split_with_sizes(lengths, 2);
    const auto keys = k_windows[b].split_with_sizes(lengths, 2);
    const auto values = v_windows[b].split_with_sizes(lengths, 2);
    std::vector<Tensor> parts;
    for (size_t i = 0; i < lengths.size(); ++i) {
      parts.push_back(GroupedAttention(queries[i], keys[i], values[i]));
    }
    windows.push_back(at::cat(parts, 1));
  }
  return at::cat(windows, 0);
}

}  // namespace

DocumentLengths LengthsOfDocuments(const Tensor& documents_BS) {
  const Tensor documents = documents_BS.to(at::kCPU, at::kLong).contiguous();
  TORCH_CHECK(documents.dim() == 2, "documents have ", documents.dim(),
              " dimensions, wanted [B, S]");
  DocumentLengths lengths(documents.size(0));
  const int64_t positions = documents.size(1);
  const int64_t* row = documents.const_data_ptr<int64_t>();
  for (auto& window : lengths) {
    int64_t begin = 0;
    for (int64_t s = 1; s <= positions; ++s) {
      if (s == positions || row[s] != row[s - 1]) {
        TORCH_CHECK(s == positions || row[s] > row[s - 1],
                    "document numbers of a window must ascend, got ",
                    row[s - 1], " before ", row[s]);
        window.push_back(s - begin);
        begin = s;
      }
    }
    row += positions;
  }
  return lengths;
}

Tensor RopeFrequencies(const ModelConfig& config) {
  const int64_t half = config.head_dim / 2;
  Tensor frequencies = at::empty({half}, at::kFloat);
  float* out = frequencies.mutable_data_ptr<float>();
  for (int64_t i = 0; i < half; ++i) {
    const double exponent =
        2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim);
    out[i] = static_cast<float>(
        ScaledFrequency(config.rope, std::pow(config.rope.theta, -exponent)));
  }
  return frequencies;
}

Tensor Project(const Tensor& x, const Tensor& weight) {
  if (weight.scalar_type() == x.scalar_type()) {
    return at::linear(x, weight);
  }
  if (at::GradMode::is_enabled() && x.requires_grad() &&
      !weight.requires_grad()) {
    return kernels::FrozenLinear(x, weight);
  }
  if (at::GradMode::is_enabled() && weight.requires_grad()) {
    return at::linear(x, weight.to(x.scalar_type()));
  }
  std::vector<int64_t> shape = x.sizes().vec();
  shape.back() = weight.size(0);
  Tensor out = at::empty(shape, x.options());
  Tensor rows = out.view({-1, weight.size(0)});
  kernels::LinearInto(rows, x.reshape({-1, x.size(-1)}), weight);
  return out;
}

Tensor Norm(const ModelConfig& config, const Tensor& x, const Tensor& weight) {
  using Weight = kernels::RmsNormOptions::Weight;
  return kernels::RmsNorm(
      x, weight,
      {.epsilon = config.rms_norm_eps,
       .weight = config.norm_cast == model_format::NormCast::kBeforeWeight
                     ? Weight::kAfterCast
                     : Weight::kBeforeCast});
}

HeadProjections ProjectHeads(const CausalLm& lm, int64_t layer,
                             const Tensor& x_BSD,
                             const kernels::RopeTable& table) {
  const ModelConfig& config = lm.config;
  const DecoderLayer& weights = lm.layers[layer];
  Tensor q = Project(x_BSD, weights.q_proj_HD);
  Tensor k = Project(x_BSD, weights.k_proj_HD);
  if (weights.q_norm_H.defined()) {
    q = Norm(config, q, weights.q_norm_H);
    k = Norm(config, k, weights.k_norm_H);
  }
  Tensor v = Project(x_BSD, weights.v_proj_HD)
                 .view({x_BSD.size(0), x_BSD.size(1), config.num_kv_heads,
                        config.head_dim})
                 .transpose(1, 2)
                 .contiguous();
  return {.q = kernels::ApplyRope(q, config.num_heads, table),
          .k = kernels::ApplyRope(k, config.num_kv_heads, table),
          .v = v};
}

Tensor GroupedAttention(const Tensor& q, const Tensor& k, const Tensor& v) {
  // Every kv head is read by heads / kv heads query heads without being
  // copied.
  const int64_t batch = q.size(0);
  const int64_t heads = q.size(1);
  const int64_t length = q.size(2);
  const int64_t width = q.size(3);
  const int64_t kv_heads = k.size(1);
  const int64_t group = heads / kv_heads;
  const int64_t seen = k.size(2);
  Tensor out;
  if (length == 1) {
    // One position: the group's heads take the place of positions.
    out = at::scaled_dot_product_attention(
              q.reshape({batch, kv_heads, group, width}), k, v)
              .reshape({batch, 1, heads * width});
    return out;
  }
  if (group == 1 && seen == length) {
    // The result lies as [B, S, heads, C]: no copy.
    return at::scaled_dot_product_attention(q, k, v, {}, /*dropout_p=*/0.0,
                                            /*is_causal=*/true)
        .transpose(1, 2)
        .reshape({batch, length, heads * width});
  }
  const Tensor grouped = q.reshape({batch * kv_heads, group, length, width});
  const auto expand = [&](const Tensor& x) {
    return x.flatten(0, 1).unsqueeze(1).expand(
        {batch * kv_heads, group, seen, width});
  };
  std::optional<Tensor> mask;
  if (seen > length) {
    mask = at::ones({length, seen}, q.options().dtype(at::kBool))
               .tril(seen - length);
  }
  out = at::scaled_dot_product_attention(grouped, expand(k), expand(v), mask,
                                         /*dropout_p=*/0.0,
                                         /*is_causal=*/!mask.has_value());
  return out.view({batch, kv_heads, group, length, width})
      .permute({0, 3, 1, 2, 4})
      .reshape({batch, length, heads * width});
}

Tensor Attend(const CausalLm& lm, int64_t layer, const Tensor& x_BSD,
              const kernels::RopeTable& table, KvCache* cache,
              const DocumentLengths* documents) {
  const int64_t length = x_BSD.size(1);
  auto [q, k, v] = ProjectHeads(lm, layer, x_BSD, table);
  if (cache != nullptr) {
    TORCH_CHECK(cache->length + length <= cache->capacity, "no room for ",
                length, " positions behind ", cache->length, " of ",
                cache->capacity);
    cache->keys[layer].narrow(2, cache->length, length).copy_(k);
    cache->values[layer].narrow(2, cache->length, length).copy_(v);
    k = cache->keys[layer].narrow(2, 0, cache->length + length);
    v = cache->values[layer].narrow(2, 0, cache->length + length);
  }
  return Project(documents != nullptr ? DocumentAttention(q, k, v, *documents)
                                      : GroupedAttention(q, k, v),
                 lm.layers[layer].o_proj_DH);
}

}  // namespace tributary::model

#pragma once

// A random two-expert model of either family, and the same model from its
// definition in fp64 with nothing but LibTorch operators.

#include <cmath>
#include <optional>
#include <vector>

#include "ATen/ATen.h"
#include "common/model/attention.h"
#include "common/model/causal_lm.h"

namespace tributary::contributor {

using at::Tensor;

inline Tensor Double(const Tensor& x) { return x.detach().to(at::kDouble); }

struct RandomModelOptions {
  bool post_norm = false;  // OLMo 2 with QK norm, else Llama
  int64_t vocabulary = 101;
  int64_t hidden = 32;
  int64_t intermediate = 48;
  int64_t num_heads = 4;
  int64_t num_kv_heads = 2;
  std::vector<int64_t> widths;  // of the expert, one per layer
  uint64_t seed = 1;
};

inline model::Ffn RandomFfn(int64_t hidden, int64_t width) {
  return {.gate_FD = at::randn({width, hidden}) * 0.2,
          .up_FD = at::randn({width, hidden}) * 0.2,
          .down_DF = at::randn({hidden, width}) * 0.2};
}

inline model::CausalLm RandomModel(const RandomModelOptions& o) {
  using model_format::BlockForm;
  at::manual_seed(o.seed);
  model::CausalLm lm;
  auto& c = lm.config;
  c.type = o.post_norm ? model_format::ModelType::kOlmo2
                       : model_format::ModelType::kLlama;
  c.block = o.post_norm ? BlockForm::kPostNorm : BlockForm::kPreNorm;
  c.qk_norm = o.post_norm ? model_format::QkNorm::kWholeProjection
                          : model_format::QkNorm::kNone;
  c.norm_cast = o.post_norm ? model_format::NormCast::kAfterWeight
                            : model_format::NormCast::kBeforeWeight;
  c.vocab_size = o.vocabulary;
  c.hidden_size = o.hidden;
  c.intermediate_size = o.intermediate;
  c.num_layers = static_cast<int64_t>(o.widths.size());
  c.num_heads = o.num_heads;
  c.num_kv_heads = o.num_kv_heads;
  c.head_dim = o.hidden / o.num_heads;
  c.rms_norm_eps = 1e-5;
  lm.top_k = 2;
  lm.renormalise = model_format::MergedNormTopkProb(c);
  lm.rope_frequencies = model::RopeFrequencies(c);
  const auto norm = [](int64_t width) { return at::rand({width}) + 0.5; };
  lm.embed_VD = at::randn({o.vocabulary, o.hidden});
  lm.head_VD = at::randn({o.vocabulary, o.hidden}) * 0.3;
  lm.final_norm_D = norm(o.hidden);
  const int64_t q = c.num_heads * c.head_dim;
  const int64_t kv = c.num_kv_heads * c.head_dim;
  for (const int64_t width : o.widths) {
    model::DecoderLayer layer;
    layer.post_attention_norm_D = norm(o.hidden);
    layer.q_proj_HD = at::randn({q, o.hidden}) * 0.2;
    layer.k_proj_HD = at::randn({kv, o.hidden}) * 0.2;
    layer.v_proj_HD = at::randn({kv, o.hidden}) * 0.2;
    layer.o_proj_DH = at::randn({o.hidden, q}) * 0.2;
    if (o.post_norm) {
      layer.post_feedforward_norm_D = norm(o.hidden);
      layer.q_norm_H = norm(q);
      layer.k_norm_H = norm(kv);
    } else {
      layer.input_norm_D = norm(o.hidden);
    }
    layer.ffn = RandomFfn(o.hidden, o.intermediate);
    layer.experts.resize(2);
    if (width > 0) {
      layer.experts[1] = RandomFfn(o.hidden, width);
    }
    layer.router_ED =
        at::cat({at::zeros({1, o.hidden}), at::randn({1, o.hidden}) * 0.3});
    lm.layers.push_back(std::move(layer));
  }
  return lm;
}

// The trained tensors of a layer, fp64 leaves.
struct PlainLayer {
  std::optional<model::Ffn> expert;
  Tensor row_D;
  Tensor bias_1;  // undefined: none
};

class PlainModel {
 public:
  PlainModel(const model::CausalLm& lm, const Tensor& documents_BS = {})
      : lm_(lm), documents_BS_(documents_BS) {}

  // Layers [first, end) and the last norm; sums up
  // mean logsumexp(router logits)^2 of layers with an expert in *z_loss.
  Tensor Run(Tensor x, int64_t first, const std::vector<PlainLayer>& trained,
             Tensor* z_loss) const {
    *z_loss = at::zeros({}, at::kDouble);
    for (int64_t l = first; l < lm_.num_layers(); ++l) {
      x = Layer(l, x, trained[l], z_loss);
    }
    return Norm(x, lm_.final_norm_D);
  }

 private:
  Tensor Norm(const Tensor& x, const Tensor& weight) const {
    return x / (x.square().mean(-1, true) + lm_.config.rms_norm_eps).sqrt() *
           Double(weight);
  }

  static Tensor Mlp(const Tensor& x, const model::Ffn& ffn) {
    const Tensor g = at::matmul(x, ffn.gate_FD.to(at::kDouble).t());
    return at::matmul(
        g * at::sigmoid(g) * at::matmul(x, ffn.up_FD.to(at::kDouble).t()),
        ffn.down_DF.to(at::kDouble).t());
  }

  Tensor Attention(int64_t l, const Tensor& n) const {
    const auto& c = lm_.config;
    const auto& layer = lm_.layers[l];
    const int64_t length = n.size(1);
    const Tensor frequency =
        at::pow(c.rope.theta, at::arange(0, c.head_dim, 2, at::kDouble) /
                                  -static_cast<double>(c.head_dim));
    const Tensor angle = at::outer(at::arange(length, at::kDouble), frequency);
    const auto project = [&](const Tensor& weight, const Tensor& norm) {
      const Tensor y = at::matmul(n, Double(weight).t());
      return norm.defined() ? Norm(y, norm) : y;
    };
    const auto heads = [&](const Tensor& y, int64_t count) {
      return y.view({n.size(0), length, count, c.head_dim}).transpose(1, 2);
    };
    const auto rotate = [&](const Tensor& x) {
      const int64_t half = c.head_dim / 2;
      const Tensor a = x.narrow(-1, 0, half);
      const Tensor b = x.narrow(-1, half, half);
      return at::cat({a * angle.cos() - b * angle.sin(),
                      b * angle.cos() + a * angle.sin()},
                     -1);
    };
    const int64_t group = c.num_heads / c.num_kv_heads;
    const Tensor q =
        rotate(heads(project(layer.q_proj_HD, layer.q_norm_H), c.num_heads));
    const Tensor k =
        rotate(heads(project(layer.k_proj_HD, layer.k_norm_H), c.num_kv_heads))
            .repeat_interleave(group, 1);
    const Tensor v = heads(project(layer.v_proj_HD, Tensor()), c.num_kv_heads)
                         .repeat_interleave(group, 1);
    Tensor mask = at::full({length, length}, -1e300, at::kDouble).triu(1);
    if (documents_BS_.defined()) {
      mask = mask.unsqueeze(0).unsqueeze(0).where(
          documents_BS_.unsqueeze(1)
              .eq(documents_BS_.unsqueeze(2))
              .unsqueeze(1),
          at::full({}, -1e300, at::kDouble));
    }
    const Tensor out = at::matmul(
        at::softmax(
            at::matmul(q, k.transpose(2, 3)) / std::sqrt(c.head_dim) + mask,
            -1),
        v);
    return at::matmul(out.transpose(1, 2).reshape(
                          {n.size(0), length, c.num_heads * c.head_dim}),
                      Double(layer.o_proj_DH).t());
  }

  Tensor Feedforward(int64_t l, const Tensor& x, const PlainLayer& trained,
                     Tensor* z_loss) const {
    const Tensor anchor = Mlp(x, lm_.layers[l].ffn);
    if (!trained.expert) {
      return anchor;
    }
    Tensor z1 = at::matmul(x, trained.row_D);
    if (trained.bias_1.defined()) {
      z1 = z1 + trained.bias_1;
    }
    const Tensor logits = at::stack({at::zeros_like(z1), z1}, -1);
    *z_loss = *z_loss + at::logsumexp(logits, {-1}).square().mean();
    const Tensor p = at::softmax(logits, -1);
    return p.select(-1, 0).unsqueeze(-1) * anchor +
           p.select(-1, 1).unsqueeze(-1) * Mlp(x, *trained.expert);
  }

  Tensor Layer(int64_t l, const Tensor& x, const PlainLayer& trained,
               Tensor* z_loss) const {
    const auto& layer = lm_.layers[l];
    if (lm_.config.block == model_format::BlockForm::kPostNorm) {
      const Tensor h = x + Norm(Attention(l, x), layer.post_attention_norm_D);
      return h + Norm(Feedforward(l, h, trained, z_loss),
                      layer.post_feedforward_norm_D);
    }
    const Tensor h = x + Attention(l, Norm(x, layer.input_norm_D));
    return h + Feedforward(l, Norm(h, layer.post_attention_norm_D), trained,
                           z_loss);
  }

  const model::CausalLm& lm_;
  const Tensor documents_BS_;
};

}  // namespace tributary::contributor

#include "common/model/packed.h"

#include "ATen/core/grad_mode.h"
#include "common/model/attention.h"
#include "common/model/decoder_layer.h"

namespace tributary::model {
namespace {

// The rotation of each segment's positions, one below the other.
kernels::RopeTable RopeOf(const CausalLm& lm,
                          const std::vector<Segment>& segments) {
  std::vector<Tensor> cos;
  std::vector<Tensor> sin;
  for (const Segment& segment : segments) {
    const kernels::RopeTable table = kernels::MakeRopeTable(
        lm.rope_frequencies,
        segment.cache != nullptr ? segment.cache->length : 0, segment.length);
    cos.push_back(table.cos);
    sin.push_back(table.sin);
  }
  return {at::cat(cos), at::cat(sin)};
}

Tensor AttendPacked(const CausalLm& lm, int64_t layer, const Tensor& x_1TD,
                    const kernels::RopeTable& table,
                    const std::vector<Segment>& segments) {
  const HeadProjections heads = ProjectHeads(lm, layer, x_1TD, table);
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (const Segment& segment : segments) {
    Tensor k = heads.k.narrow(2, begin, segment.length);
    Tensor v = heads.v.narrow(2, begin, segment.length);
    if (segment.cache != nullptr) {
      KvCache& cache = *segment.cache;
      const int64_t end = cache.length + segment.length;
      cache.keys[layer].narrow(2, cache.length, segment.length).copy_(k);
      cache.values[layer].narrow(2, cache.length, segment.length).copy_(v);
      k = cache.keys[layer].narrow(2, 0, end);
      v = cache.values[layer].narrow(2, 0, end);
    }
    parts.push_back(
        GroupedAttention(heads.q.narrow(2, begin, segment.length), k, v));
    begin += segment.length;
  }
  return Project(parts.size() == 1 ? parts[0] : at::cat(parts, 1),
                 lm.layers[layer].o_proj_DH);
}

}  // namespace

Tensor RunPacked(const CausalLm& lm, const Tensor& ids_T,
                 const std::vector<Segment>& segments) {
  const at::NoGradGuard no_gradients;
  TORCH_CHECK(ids_T.dim() == 1, "ids have ", ids_T.dim(),
              " dimensions, wanted [T]");
  int64_t total = 0;
  for (const Segment& segment : segments) {
    TORCH_CHECK(segment.length > 0, "a segment has ", segment.length,
                " positions");
    TORCH_CHECK(
        segment.cache == nullptr ||
            segment.cache->length + segment.length <= segment.cache->capacity,
        "no room for ", segment.length, " positions in a cache");
    total += segment.length;
  }
  TORCH_CHECK(total == ids_T.numel(), "segments have ", total,
              " positions for ", ids_T.numel(), " ids");
  const kernels::RopeTable table = RopeOf(lm, segments);
  Tensor x = Embed(lm, ids_T.unsqueeze(0));
  for (int64_t l = 0; l < lm.num_layers(); ++l) {
    x = RunDecoderLayer(lm, l, x, nullptr, [&](const Tensor& input) {
      return AttendPacked(lm, l, input, table, segments);
    });
  }
  for (const Segment& segment : segments) {
    if (segment.cache != nullptr) {
      segment.cache->length += segment.length;
    }
  }
  return x;
}

}  // namespace tributary::model

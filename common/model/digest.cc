#include "common/crypto/digest.h"

#include <cstddef>
#include <span>

#include "common/model/errors.h"
#include "common/model/load.h"

namespace tributary::model {
namespace {

void Add(crypto::Sha256& hash, const std::string& name, const Tensor& tensor) {
  if (!tensor.defined()) {
    return;
  }
  std::string header = name + " " + c10::toString(tensor.scalar_type());
  for (const int64_t size : tensor.sizes()) {
    header += " " + std::to_string(size);
  }
  hash.Update(header + "\n");
  const Tensor host = tensor.detach().to(at::kCPU).contiguous();
  hash.Update(std::span<const std::byte>(
      static_cast<const std::byte*>(host.const_data_ptr()), host.nbytes()));
}

}  // namespace

StatusOr<std::string> DigestFrozen(const CausalLm& lm) {
  return CatchTorch([&]() -> StatusOr<std::string> {
    crypto::Sha256 hash;
    Add(hash, "embed", lm.embed_VD);
    Add(hash, "final_norm", lm.final_norm_D);
    if (!lm.head_VD.is_same(lm.embed_VD)) {
      Add(hash, "head", lm.head_VD);
    }
    for (size_t l = 0; l < lm.layers.size(); ++l) {
      const DecoderLayer& layer = lm.layers[l];
      const std::string prefix = std::to_string(l) + ".";
      Add(hash, prefix + "input_norm", layer.input_norm_D);
      Add(hash, prefix + "post_attention_norm", layer.post_attention_norm_D);
      Add(hash, prefix + "post_feedforward_norm",
          layer.post_feedforward_norm_D);
      Add(hash, prefix + "q_proj", layer.q_proj_HD);
      Add(hash, prefix + "k_proj", layer.k_proj_HD);
      Add(hash, prefix + "v_proj", layer.v_proj_HD);
      Add(hash, prefix + "o_proj", layer.o_proj_DH);
      Add(hash, prefix + "q_norm", layer.q_norm_H);
      Add(hash, prefix + "k_norm", layer.k_norm_H);
      Add(hash, prefix + "gate_proj", layer.ffn.gate_FD);
      Add(hash, prefix + "up_proj", layer.ffn.up_FD);
      Add(hash, prefix + "down_proj", layer.ffn.down_DF);
    }
    return hash.Hex();
  });
}

}  // namespace tributary::model

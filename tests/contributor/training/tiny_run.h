#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "common/model/causal_lm.h"
#include "contributor/training/train_expert.h"

namespace tributary::contributor {

// Everything that training on the small anchor needs, in a temporary folder:
// windows of 64 tokens of one domain, trunk and importance from layer 2 on, and
// rows that give the expert about half of every token.
class TinyRun {
 public:
  explicit TinyRun(const std::string& domain = "domain_a");

  std::filesystem::path Path(const std::string& name) const {
    return folder_.path() / name;
  }
  const model::CausalLm& anchor() const { return anchor_; }
  static std::filesystem::path AnchorDirectory();
  static constexpr int64_t kFirstLayer = 2;

  TrunkFiles Files() const {
    return {.tokens_path = Path("tokens.safetensors"),
            .trunk_path = Path("trunk.safetensors"),
            .first_layer = kFirstLayer};
  }
  // An expert of `width` from the anchor's most important channels.
  InitialExpertOptions Initial(int64_t width) const;
  // Writes `name`.safetensors and its companions.
  TrainerOptions Trainer(const std::string& name) const;
  // The anchor's log-loss on held-out windows.
  double anchor_loss() const { return anchor_loss_; }

 private:
  TemporaryDirectory folder_;
  model::CausalLm anchor_;
  double anchor_loss_ = 0;
};

// The tensors of a file by name, fp32.
std::map<std::string, at::Tensor> ReadAll(const std::filesystem::path& path);

}  // namespace tributary::contributor

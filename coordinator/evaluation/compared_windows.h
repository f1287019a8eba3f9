#pragma once

// Windows of several texts with what all models of one anchor have in common on
// them, and the losses of one model.

#include <cstdint>
#include <string>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/model/causal_lm.h"
#include "coordinator/evaluation/record_routing.h"

namespace tributary::coordinator {

class ComparedWindows {
 public:
  // Runs the layers below the first that routes in `lm`, a release, on all
  // windows of at least 2 tokens. INVALID_ARGUMENT for ids outside of the
  // vocabulary.
  static StatusOr<ComparedWindows> Create(
      const model::CausalLm& lm, const std::vector<DomainWindows>& texts,
      const CancellationToken* cancellation);

  // Negative log-likelihood, nats: [texts][windows][predicted tokens].
  using Losses = std::vector<std::vector<std::vector<double>>>;
  // Of a model that shares the layers below.
  StatusOr<Losses> Measure(const model::CausalLm& lm,
                           const CancellationToken* cancellation) const;

 private:
  struct Window {
    at::Tensor ids_1S;
    at::Tensor trunk_1SD;
  };
  ComparedWindows() = default;

  int64_t first_layer_ = 0;
  std::vector<std::vector<Window>> texts_;
};

}  // namespace tributary::coordinator

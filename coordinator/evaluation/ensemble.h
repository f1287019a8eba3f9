#pragma once

#include <vector>

namespace tributary::coordinator {

// Branch-Train-Merge's ensemble of outputs (arXiv 2208.03306, section 2.3) on
// one text. `losses[m][t]` is model m's negative log-likelihood of token t,
// nats. The ensemble predicts token t with sum_m w_m(t) p_m(t), the weights
// the posterior of the models given the tokens before t from equal priors:
// w_m(t) proportional to exp(-sum of losses[m] before t). Returns the
// ensemble's losses. All models have as many tokens.
std::vector<double> EnsembleLosses(
    const std::vector<std::vector<double>>& losses);

}  // namespace tributary::coordinator

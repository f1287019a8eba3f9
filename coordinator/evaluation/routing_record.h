#pragma once

// Which experts each token of some texts was sent to.

#include <cstdint>
#include <string>
#include <vector>

#include "coordinator/evaluation/node_limit.h"

namespace tributary::coordinator {

struct RoutingRecord {
  std::vector<std::string> domains;
  std::vector<std::string> experts;  // by id; the public one is 0
  std::vector<int64_t> layers;       // those that route, ascending
  int64_t top_k = 0;

  // Per token, in the order of the texts.
  std::vector<int32_t> domain;     // index into `domains`
  std::vector<int32_t> input;      // its id
  std::vector<int32_t> next;       // the id that follows; -1 at the end
  std::vector<int32_t> predicted;  // the likeliest id to follow

  // Per routing layer: [T * top_k], the chosen experts of a token, likeliest
  // first.
  std::vector<std::vector<int32_t>> chosen;
  // Per routing layer: sums over the tokens of a domain [D * E] of the
  // probability and of the combining weight.
  std::vector<std::vector<double>> probability;
  std::vector<std::vector<double>> weight;

  // Per routing layer; empty: not simulated.
  std::vector<NodeLoad> nodes;

  // Channel importance of the anchor's FFNs on each domain, run without
  // experts: sqrt(sum over windows of (mean over positions of |a|)^2), a the
  // input of down_proj [D][L][F]. Empty for mixtures without an anchor.
  std::vector<std::vector<std::vector<double>>> importance;

  // Per domain: sum of negative log-likelihoods (nats) and predicted tokens.
  std::vector<double> loss;
  std::vector<int64_t> loss_tokens;

  int64_t tokens() const { return static_cast<int64_t>(domain.size()); }
  int64_t num_domains() const { return static_cast<int64_t>(domains.size()); }
  int64_t num_experts() const { return static_cast<int64_t>(experts.size()); }
};

}  // namespace tributary::coordinator

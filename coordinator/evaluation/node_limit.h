#pragma once

// What it would save to let a token choose experts of a few nodes only, were
// the experts spread over several. A simulation on recorded probabilities: no
// model of ours routes this way.
//
// The rule is that of DeepSeek-V3 (arXiv 2412.19437, section 2.1.2): a group's
// score is the sum of its K / M highest probabilities (rounded up), the M
// groups with the highest scores are kept, and the K highest probabilities
// among their experts are chosen. Published code gives experts of other groups
// the score 0 instead of taking them out, so that one of them is chosen where
// biased scores of the kept groups are below 0. That is not taken over: experts
// of other groups are never chosen.

#include <cstdint>
#include <span>
#include <vector>

#include "common/base/status.h"

namespace tributary::coordinator {

struct NodeLimit {
  int64_t groups = 0;  // 0: no simulation
  int64_t limit = 1;   // M, groups that a token may choose from
};

// Means over tokens.
struct NodeLoad {
  double groups_free = 0;     // different groups of a token's K choices
  double groups_limited = 0;  // the same with the rule
  double choices_kept = 0;    // share of the free choices made all the same
  double mass_kept = 0;       // probability chosen over that of free choices
};

class NodeSimulation {
 public:
  // Experts in order, neighbours in one group, sizes as equal as can be.
  // INVALID_ARGUMENT for more groups than experts, a limit of more than there
  // are groups, or groups that together may have less than `top_k` experts.
  static StatusOr<NodeSimulation> Create(const NodeLimit& limit,
                                         int64_t experts, int64_t top_k);

  // Adds tokens with these probabilities [T, E].
  void Add(std::span<const float> p_TE);
  NodeLoad Mean() const;

  // The K experts that one token gets, ascending; `limited` by the rule. Equal
  // scores: the lower number first.
  std::vector<int64_t> Choose(std::span<const float> p_E, bool limited) const;
  int64_t GroupOf(int64_t expert) const;

 private:
  NodeSimulation(const NodeLimit& limit, int64_t experts, int64_t top_k)
      : limit_(limit), experts_(experts), top_k_(top_k) {}

  NodeLimit limit_;
  int64_t experts_;
  int64_t top_k_;
  int64_t tokens_ = 0;
  NodeLoad sum_;
};

}  // namespace tributary::coordinator

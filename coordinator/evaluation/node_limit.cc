#include "coordinator/evaluation/node_limit.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <iterator>
#include <numeric>
#include <set>

namespace tributary::coordinator {
namespace {

// Positions of the `count` highest values, ascending.
std::vector<int64_t> Highest(const std::vector<double>& values, int64_t count) {
  std::vector<int64_t> order(values.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return values[static_cast<size_t>(a)] > values[static_cast<size_t>(b)];
  });
  order.resize(static_cast<size_t>(count));
  std::sort(order.begin(), order.end());
  return order;
}

}  // namespace

StatusOr<NodeSimulation> NodeSimulation::Create(const NodeLimit& limit,
                                                int64_t experts,
                                                int64_t top_k) {
  if (limit.groups < 1 || limit.groups > experts || limit.limit < 1 ||
      limit.limit > limit.groups) {
    return InvalidArgument(
        "got {} of {} groups of {} experts, wanted at most as many groups as "
        "experts and a limit of 1 to all of them",
        limit.limit, limit.groups, experts);
  }
  if (limit.limit * (experts / limit.groups) < top_k) {
    return InvalidArgument(
        "{} of {} groups may have {} experts, wanted at least the {} that a "
        "token chooses",
        limit.limit, limit.groups, limit.limit * (experts / limit.groups),
        top_k);
  }
  return NodeSimulation(limit, experts, top_k);
}

int64_t NodeSimulation::GroupOf(int64_t expert) const {
  // Group g begins at expert floor(g E / G).
  return ((expert + 1) * limit_.groups - 1) / experts_;
}

std::vector<int64_t> NodeSimulation::Choose(std::span<const float> p_E,
                                            bool limited) const {
  std::vector<double> scores(p_E.begin(), p_E.end());
  if (!limited) {
    return Highest(scores, top_k_);
  }
  std::vector<std::vector<double>> members(static_cast<size_t>(limit_.groups));
  for (int64_t e = 0; e < experts_; ++e) {
    members[static_cast<size_t>(GroupOf(e))].push_back(
        scores[static_cast<size_t>(e)]);
  }
  const auto summed =
      static_cast<size_t>((top_k_ + limit_.limit - 1) / limit_.limit);
  std::vector<double> groups;
  for (std::vector<double>& group : members) {
    std::sort(group.begin(), group.end(), std::greater<>());
    group.resize(std::min(group.size(), summed));
    groups.push_back(std::accumulate(group.begin(), group.end(), 0.0));
  }
  const std::vector<int64_t> kept = Highest(groups, limit_.limit);
  for (int64_t e = 0; e < experts_; ++e) {
    if (!std::binary_search(kept.begin(), kept.end(), GroupOf(e))) {
      scores[static_cast<size_t>(e)] = -1;  // below every probability
    }
  }
  return Highest(scores, top_k_);
}

void NodeSimulation::Add(std::span<const float> p_TE) {
  const auto width = static_cast<size_t>(experts_);
  const auto groups = [this](const std::vector<int64_t>& chosen) {
    std::set<int64_t> seen;
    for (const int64_t e : chosen) {
      seen.insert(GroupOf(e));
    }
    return static_cast<double>(seen.size());
  };
  for (; p_TE.size() >= width; p_TE = p_TE.subspan(width)) {
    const auto token = p_TE.first(width);
    const std::vector<int64_t> free = Choose(token, /*limited=*/false);
    const std::vector<int64_t> limited = Choose(token, /*limited=*/true);
    std::vector<int64_t> both;
    std::set_intersection(free.begin(), free.end(), limited.begin(),
                          limited.end(), std::back_inserter(both));
    const auto mass = [&](const std::vector<int64_t>& chosen) {
      double sum = 0;
      for (const int64_t e : chosen) {
        sum += token[static_cast<size_t>(e)];
      }
      return sum;
    };
    sum_.groups_free += groups(free);
    sum_.groups_limited += groups(limited);
    sum_.choices_kept +=
        static_cast<double>(both.size()) / static_cast<double>(top_k_);
    sum_.mass_kept += mass(limited) / mass(free);
    ++tokens_;
  }
}

NodeLoad NodeSimulation::Mean() const {
  const auto tokens = static_cast<double>(std::max<int64_t>(1, tokens_));
  return {.groups_free = sum_.groups_free / tokens,
          .groups_limited = sum_.groups_limited / tokens,
          .choices_kept = sum_.choices_kept / tokens,
          .mass_kept = sum_.mass_kept / tokens};
}

}  // namespace tributary::coordinator

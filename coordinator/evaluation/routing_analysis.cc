#include "coordinator/evaluation/routing_analysis.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <unordered_map>

namespace tributary::coordinator {
namespace {

size_t At(int64_t index) { return static_cast<size_t>(index); }

double Ratio(double part, double whole) { return whole > 0 ? part / whole : 0; }

// Calls `visit(expert, rank)` for all choices of token t in routing layer l.
template <typename Visit>
void ForChoices(const RoutingRecord& record, size_t l, int64_t t,
                const Visit& visit) {
  for (int64_t k = 0; k < record.top_k; ++k) {
    visit(int64_t{record.chosen[l][At(t * record.top_k + k)]}, k);
  }
}

// Counts of pairs [E, E] and, on the diagonal, of single choices.
void CountPairs(const RoutingRecord& record, size_t l,
                std::vector<double>& counts) {
  const int64_t experts = record.num_experts();
  for (int64_t t = 0; t < record.tokens(); ++t) {
    ForChoices(record, l, t, [&](int64_t i, int64_t) {
      ForChoices(record, l, t,
                 [&](int64_t j, int64_t) { counts[At(i * experts + j)] += 1; });
    });
  }
}

void PairsToShares(int64_t experts, double* counts) {
  for (int64_t i = 0; i < experts; ++i) {
    const double single = counts[i * experts + i];
    for (int64_t j = 0; j < experts; ++j) {
      double& value = counts[i * experts + j];
      value = i == j ? 0 : Ratio(value, single);
    }
  }
}

const std::vector<int32_t>& KeyOf(const RoutingRecord& record,
                                  VocabularyKey key) {
  switch (key) {
    case VocabularyKey::kNext:
      return record.next;
    case VocabularyKey::kPredicted:
      return record.predicted;
    case VocabularyKey::kInput:
      break;
  }
  return record.input;
}

// Tokens of the ids that occur often enough: position by id, and counts.
struct FrequentIds {
  std::vector<int32_t> ids;
  std::vector<int64_t> counts;
  std::vector<int64_t> index;  // per token; -1: of another id
};

FrequentIds FindFrequent(const std::vector<int32_t>& keys, int64_t min_count) {
  std::map<int32_t, int64_t> counts;
  for (const int32_t id : keys) {
    if (id >= 0) {
      ++counts[id];
    }
  }
  FrequentIds frequent;
  std::unordered_map<int32_t, int64_t> positions;
  for (const auto& [id, count] : counts) {
    if (count >= min_count) {
      positions[id] = static_cast<int64_t>(frequent.ids.size());
      frequent.ids.push_back(id);
      frequent.counts.push_back(count);
    }
  }
  for (const int32_t id : keys) {
    const auto found = positions.find(id);
    frequent.index.push_back(found == positions.end() ? -1 : found->second);
  }
  return frequent;
}

// The ids with the largest shares of an expert's first choices.
std::vector<TokenShare> TopIds(const FrequentIds& frequent,
                               const std::vector<double>& first_counts,
                               int64_t expert, int64_t experts, double layers,
                               size_t top) {
  std::vector<TokenShare> shares;
  for (size_t x = 0; x < frequent.ids.size(); ++x) {
    const double share =
        Ratio(first_counts[x * At(experts) + At(expert)],
              static_cast<double>(frequent.counts[x]) * layers);
    if (share > 0) {
      shares.push_back({frequent.ids[x], share, frequent.counts[x]});
    }
  }
  std::stable_sort(shares.begin(), shares.end(),
                   [](const TokenShare& a, const TokenShare& b) {
                     return a.share != b.share ? a.share > b.share
                                               : a.count > b.count;
                   });
  shares.resize(std::min(shares.size(), top));
  return shares;
}

}  // namespace

std::vector<double> Utilisation(const RoutingRecord& record) {
  const int64_t experts = record.num_experts();
  std::vector<double> result(record.layers.size() * At(experts));
  for (size_t l = 0; l < record.layers.size(); ++l) {
    for (const int32_t expert : record.chosen[l]) {
      result[l * At(experts) + At(expert)] += 1;
    }
  }
  for (double& value : result) {
    value = Ratio(value, static_cast<double>(record.tokens()));
  }
  return result;
}

std::vector<double> DomainSpecialisation(const RoutingRecord& record) {
  const int64_t experts = record.num_experts();
  const int64_t domains = record.num_domains();
  std::vector<double> tokens(At(domains));
  for (const int32_t domain : record.domain) {
    tokens[At(domain)] += 1;
  }
  std::vector<double> result(record.layers.size() * At(domains * experts));
  for (size_t l = 0; l < record.layers.size(); ++l) {
    double* layer = result.data() + l * At(domains * experts);
    for (int64_t t = 0; t < record.tokens(); ++t) {
      const int64_t domain = record.domain[At(t)];
      ForChoices(record, l, t, [&](int64_t expert, int64_t) {
        layer[domain * experts + expert] += 1;
      });
    }
    for (int64_t d = 0; d < domains; ++d) {
      for (int64_t e = 0; e < experts; ++e) {
        double& value = layer[d * experts + e];
        value = Ratio(value, tokens[At(d)]);
      }
    }
  }
  return result;
}

std::vector<double> CoActivation(const RoutingRecord& record) {
  const int64_t experts = record.num_experts();
  std::vector<double> result;
  for (size_t l = 0; l < record.layers.size(); ++l) {
    std::vector<double> counts(At(experts * experts));
    CountPairs(record, l, counts);
    PairsToShares(experts, counts.data());
    result.insert(result.end(), counts.begin(), counts.end());
  }
  return result;
}

std::vector<double> MeanCoActivation(const RoutingRecord& record) {
  const int64_t experts = record.num_experts();
  std::vector<double> counts(At(experts * experts));
  for (size_t l = 0; l < record.layers.size(); ++l) {
    CountPairs(record, l, counts);
  }
  PairsToShares(experts, counts.data());
  return counts;
}

VocabularySpecialisation Vocabulary(const RoutingRecord& record,
                                    VocabularyKey key, int64_t min_count,
                                    size_t top) {
  const int64_t experts = record.num_experts();
  const size_t layers = record.layers.size();
  const FrequentIds frequent = FindFrequent(KeyOf(record, key), min_count);
  const size_t ids = frequent.ids.size();
  VocabularySpecialisation result{
      .ids = static_cast<int64_t>(ids),
      .first_choice = std::vector<double>(layers),
      .mean_share = std::vector<double>(layers * At(experts)),
      .top = {}};
  std::vector<double> all_first(ids * At(experts));
  for (size_t l = 0; l < layers && ids > 0; ++l) {
    std::vector<double> first(ids * At(experts));
    for (int64_t t = 0; t < record.tokens(); ++t) {
      const int64_t x = frequent.index[At(t)];
      if (x < 0) {
        continue;
      }
      const double one = 1.0 / static_cast<double>(frequent.counts[At(x)]);
      ForChoices(record, l, t, [&](int64_t expert, int64_t rank) {
        result.mean_share[l * At(experts) + At(expert)] +=
            one / static_cast<double>(ids);
        if (rank == 0) {
          first[At(x * experts + expert)] += 1;
        }
      });
    }
    double sum = 0;
    for (size_t x = 0; x < ids; ++x) {
      const auto begin = first.begin() + static_cast<int64_t>(x) * experts;
      sum += *std::max_element(begin, begin + experts) /
             static_cast<double>(frequent.counts[x]);
    }
    result.first_choice[l] = sum / static_cast<double>(ids);
    std::transform(first.begin(), first.end(), all_first.begin(),
                   all_first.begin(), std::plus<>());
  }
  for (int64_t e = 0; e < experts; ++e) {
    result.top.push_back(TopIds(frequent, all_first, e, experts,
                                static_cast<double>(layers), top));
  }
  return result;
}

StatusOr<Saturation> RouterSaturation(const RoutingRecord& a,
                                      const RoutingRecord& b) {
  if (a.input != b.input || a.domain != b.domain || a.top_k != b.top_k) {
    return InvalidArgument(
        "got records of {} and {} tokens with top-{} and top-{}, wanted the "
        "same tokens and top-k: compare models with one tokenizer",
        a.tokens(), b.tokens(), a.top_k, b.top_k);
  }
  // Ids of b as ids of a; -1 where a has no such expert.
  std::vector<int32_t> as_a(b.experts.size(), -1);
  for (size_t e = 0; e < b.experts.size(); ++e) {
    const auto found =
        std::find(a.experts.begin(), a.experts.end(), b.experts[e]);
    if (found != a.experts.end()) {
      as_a[e] = static_cast<int32_t>(found - a.experts.begin());
    }
  }
  Saturation result;
  for (size_t l = 0; l < a.layers.size(); ++l) {
    const auto other = std::find(b.layers.begin(), b.layers.end(), a.layers[l]);
    if (other == b.layers.end()) {
      continue;
    }
    const auto lb = static_cast<size_t>(other - b.layers.begin());
    int64_t common = 0;
    for (int64_t t = 0; t < a.tokens(); ++t) {
      ForChoices(a, l, t, [&](int64_t i, int64_t) {
        ForChoices(b, lb, t, [&](int64_t j, int64_t) {
          common += as_a[At(j)] == i ? 1 : 0;
        });
      });
    }
    result.layers.push_back(a.layers[l]);
    result.share.push_back(Ratio(static_cast<double>(common),
                                 static_cast<double>(a.tokens() * a.top_k)));
  }
  return result;
}

double ImportanceOverlap(const std::vector<double>& a,
                         const std::vector<double>& b, double fraction) {
  const auto wanted = static_cast<size_t>(std::clamp<double>(
      std::round(fraction * static_cast<double>(a.size())), 1.0,
      std::max<double>(1.0, static_cast<double>(a.size()))));
  const auto top = [wanted](const std::vector<double>& scores) {
    std::vector<size_t> order(scores.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t i, size_t j) { return scores[i] > scores[j]; });
    order.resize(std::min(wanted, order.size()));
    std::sort(order.begin(), order.end());
    return order;
  };
  const std::vector<size_t> first = top(a);
  const std::vector<size_t> second = top(b);
  std::vector<size_t> both;
  std::set_intersection(first.begin(), first.end(), second.begin(),
                        second.end(), std::back_inserter(both));
  return Ratio(static_cast<double>(both.size()),
               static_cast<double>(first.size()));
}

}  // namespace tributary::coordinator

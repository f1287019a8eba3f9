#pragma once

// What can be read off a routing record; OLMoE (arXiv 2409.02060) section 5.
// Shapes: L routing layers, D domains, E experts, row-major.

#include <cstdint>
#include <vector>

#include "common/base/status.h"
#include "coordinator/evaluation/routing_record.h"

namespace tributary::coordinator {

// N_e / N: share of all tokens that chose expert e [L, E].
std::vector<double> Utilisation(const RoutingRecord& record);

// N_{e,D} / N_D: share of a domain's tokens that chose e [L, D, E]. A domain
// without tokens has zeros.
std::vector<double> DomainSpecialisation(const RoutingRecord& record);

// N_ij / N_i: of the tokens that chose i, the share that chose j as well, over
// all pairs of a token's choices [L, E, E]. The diagonal is 0, and so are rows
// of experts that nothing chose.
std::vector<double> CoActivation(const RoutingRecord& record);

// The same with the counts of all layers added up first [E, E].
std::vector<double> MeanCoActivation(const RoutingRecord& record);

enum class VocabularyKey { kInput, kNext, kPredicted };

struct TokenShare {
  int32_t id = 0;
  double share = 0;   // N_{x,e} / N_x over all layers
  int64_t count = 0;  // N_x, in tokens
};

struct VocabularySpecialisation {
  int64_t ids = 0;  // seen at least `min_count` times
  // Mean over those ids of the largest N_{x,e} / N_x over experts, counting
  // only each token's first choice [L].
  std::vector<double> first_choice;
  // Mean over those ids of N_{x,e} / N_x, counting all choices [L, E].
  std::vector<double> mean_share;
  // Per expert, the ids with the largest share of first choices, all layers
  // added up.
  std::vector<std::vector<TokenShare>> top;
};

// N_{x,e} / N_x by token id x, for ids that occur at least `min_count` times;
// `top` ids are listed for each expert.
VocabularySpecialisation Vocabulary(const RoutingRecord& record,
                                    VocabularyKey key, int64_t min_count,
                                    size_t top);

// Mean over tokens of |chosen by a and by b| / k, experts matched by name
// [layers of both]. INVALID_ARGUMENT when the records are not of the same
// tokens and top-k.
struct Saturation {
  std::vector<int64_t> layers;
  std::vector<double> share;
};
StatusOr<Saturation> RouterSaturation(const RoutingRecord& a,
                                      const RoutingRecord& b);

// Shares of channels that are among the top `fraction` by both scores
// (|A and B| / |A|) of two lists of equal length; ties by index.
double ImportanceOverlap(const std::vector<double>& a,
                         const std::vector<double>& b, double fraction);

}  // namespace tributary::coordinator

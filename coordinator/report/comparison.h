#pragma once

// A comparison of a release with other ways to make one model of its experts
// (evaluation/compare_release.h), for people.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "common/base/json.h"
#include "common/base/status.h"
#include "coordinator/report/page.h"

namespace tributary::coordinator {

struct Comparison {
  struct Text {
    std::string name;
    std::string contribution;  // whose it is; empty: nobody's
    int64_t tokens = 0;
  };
  struct Loss {
    double log_loss = 0;  // nats per token
    double change = 0;    // against the anchor
    // Of the owner's own gain over the anchor; nothing for texts of nobody.
    std::optional<double> gain_kept;
  };
  struct Model {
    std::string id;
    std::string label;
    std::string contribution;  // of a 2-expert model
    int64_t total_parameters = 0;
    int64_t active_parameters = 0;
    std::vector<Loss> losses;  // by text
  };
  std::vector<Text> texts;
  std::vector<Model> models;

  // INVALID_ARGUMENT naming what is missing or wrong.
  static StatusOr<Comparison> FromJson(const Json& value);

  // The smallest share of an own gain that model `id` keeps; nothing when no
  // text has an owner. Likewise the highest change of perplexity on texts of
  // nobody, as a ratio.
  std::optional<double> LeastGainKept(const std::string& id) const;
  std::optional<double> PublicPerplexityRatio(const std::string& id) const;
};

// Columns for a terminal.
std::string ComparisonTable(const Comparison& comparison);
PageSection ComparisonSection(const Comparison& comparison);

}  // namespace tributary::coordinator

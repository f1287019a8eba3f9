#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace tributary::coordinator {

// A measured number and the limits it was held against.
struct Measurement {
  std::string name;
  double value = 0;
  std::optional<double> minimum;
  std::optional<double> maximum;
};

// One check of admission.
struct GateResult {
  std::string gate;
  bool passed = false;
  std::string detail;
  std::vector<Measurement> measurements;
};

enum class Outcome { kAccepted, kQuarantined, kRejected, kError };

// "ACCEPTED", ...
std::string_view ToString(Outcome outcome);

// What admission concluded, as it is stored and told.
struct Decision {
  Outcome outcome = Outcome::kError;
  std::string reason;
  std::vector<GateResult> gates;
  int64_t decide_time_s = 0;

  // Numbers that are not finite become null.
  StatusOr<std::string> ToJson() const;
  static StatusOr<Decision> FromJson(std::string_view json);
};

}  // namespace tributary::coordinator

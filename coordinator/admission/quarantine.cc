#include "coordinator/admission/quarantine.h"

#include <fmt/format.h>

namespace tributary::coordinator {

std::string CloseCalls(const Decision& decision, double fraction) {
  std::string text;
  for (const GateResult& gate : decision.gates) {
    for (const Measurement& item : gate.measurements) {
      if (fraction > 0 && gate.gate != "policy" && item.maximum &&
          *item.maximum > 0 && item.value > fraction * *item.maximum) {
        text += fmt::format("{}{} = {:.4g} of at most {:.4g}",
                            text.empty() ? "" : ", ", item.name, item.value,
                            *item.maximum);
      }
    }
  }
  return text;
}

std::optional<std::string> HeldBecause(const std::string& decision_json) {
  if (decision_json.empty()) {
    return std::nullopt;
  }
  const StatusOr<Decision> stored = Decision::FromJson(decision_json);
  if (!stored.ok() || stored->outcome != Outcome::kQuarantined) {
    return std::nullopt;
  }
  return stored->reason;
}

}  // namespace tributary::coordinator

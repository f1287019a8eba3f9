#include "coordinator/storage/decision.h"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "common/base/json.h"

namespace tributary::coordinator {
namespace {

Json Number(double value) {
  return std::isfinite(value) ? Json(value) : Json(nullptr);
}

double ReadNumber(const Json& value) {
  return value.is_number() ? value.get<double>()
                           : std::numeric_limits<double>::quiet_NaN();
}

StatusOr<Outcome> ParseOutcome(const std::string& text) {
  for (const Outcome outcome : {Outcome::kAccepted, Outcome::kQuarantined,
                                Outcome::kRejected, Outcome::kError}) {
    if (text == ToString(outcome)) {
      return outcome;
    }
  }
  return DataLoss("stored decision has outcome '{}'", text);
}

std::optional<double> ReadLimit(const Json& value, const char* key) {
  return value.contains(key) ? std::optional<double>(ReadNumber(value[key]))
                             : std::nullopt;
}

}  // namespace

std::string_view ToString(Outcome outcome) {
  switch (outcome) {
    case Outcome::kAccepted:
      return "ACCEPTED";
    case Outcome::kQuarantined:
      return "QUARANTINED";
    case Outcome::kRejected:
      return "REJECTED";
    default:
      return "ERROR";
  }
}

StatusOr<std::string> Decision::ToJson() const {
  Json json = {{"outcome", ToString(outcome)},
               {"reason", reason},
               {"decide_time_s", decide_time_s},
               {"gates", Json::array()}};
  for (const GateResult& gate : gates) {
    Json measurements = Json::array();
    for (const Measurement& measurement : gate.measurements) {
      Json item = {{"name", measurement.name},
                   {"value", Number(measurement.value)}};
      if (measurement.minimum) {
        item["minimum"] = Number(*measurement.minimum);
      }
      if (measurement.maximum) {
        item["maximum"] = Number(*measurement.maximum);
      }
      measurements.push_back(std::move(item));
    }
    json["gates"].push_back({{"gate", gate.gate},
                             {"passed", gate.passed},
                             {"detail", gate.detail},
                             {"measurements", std::move(measurements)}});
  }
  return DumpJson(json);
}

StatusOr<Decision> Decision::FromJson(std::string_view text) {
  ASSIGN_OR_RETURN(const Json json, ParseJson(text));
  try {
    Decision decision;
    ASSIGN_OR_RETURN(decision.outcome,
                     ParseOutcome(json.at("outcome").get<std::string>()));
    decision.reason = json.at("reason").get<std::string>();
    decision.decide_time_s = json.at("decide_time_s").get<int64_t>();
    for (const Json& gate : json.at("gates")) {
      GateResult result;
      result.gate = gate.at("gate").get<std::string>();
      result.passed = gate.at("passed").get<bool>();
      result.detail = gate.at("detail").get<std::string>();
      for (const Json& item : gate.at("measurements")) {
        result.measurements.push_back(
            {.name = item.at("name").get<std::string>(),
             .value = ReadNumber(item.at("value")),
             .minimum = ReadLimit(item, "minimum"),
             .maximum = ReadLimit(item, "maximum")});
      }
      decision.gates.push_back(std::move(result));
    }
    return decision;
  } catch (const Json::exception& error) {
    return DataLoss("stored decision: {}", error.what());
  }
}

}  // namespace tributary::coordinator

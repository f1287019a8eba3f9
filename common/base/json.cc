#include "common/base/json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>
#include <vector>

#include "common/base/text.h"

namespace tributary {
namespace {

// Whether the brackets nest deeper than `max_depth`. Exact for valid JSON;
// elsewhere the parser fails before the two could differ.
bool IsDeeperThan(std::string_view text, size_t max_depth) {
  size_t depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > max_depth) {
        return true;
      }
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return false;
}

// Finds repeated keys while the library builds the value.
class KeyGuard {
 public:
  void OnEvent(Json::parse_event_t event, const Json& value) {
    switch (event) {
      case Json::parse_event_t::object_start:
        keys_.emplace_back();
        break;
      case Json::parse_event_t::object_end:
        keys_.pop_back();
        break;
      case Json::parse_event_t::key: {
        const auto& key = value.get_ref<const std::string&>();
        if (!keys_.back().insert(key).second && repeated_.empty()) {
          repeated_ = "\"" + key + "\"";
        }
        break;
      }
      default:
        break;
    }
  }

  // The first key that occurred twice, quoted, or nothing.
  const std::string& repeated() const { return repeated_; }

 private:
  std::vector<std::set<std::string>> keys_;  // one set per open object
  std::string repeated_;
};

bool IsFinite(const Json& value) {
  if (value.is_number_float()) {
    return std::isfinite(value.get<double>());
  }
  if (value.is_structured()) {
    for (const Json& element : value) {
      if (!IsFinite(element)) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace

StatusOr<Json> ParseJson(std::string_view text, const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return InvalidArgument("JSON of {} bytes, wanted at most {}", text.size(),
                           limits.max_bytes);
  }
  if (IsDeeperThan(text, limits.max_depth)) {
    return InvalidArgument("JSON nested deeper than {} levels",
                           limits.max_depth);
  }
  if (const auto position = FirstInvalidUtf8(text)) {
    return InvalidArgument("not UTF-8 at byte {}", *position);
  }
  KeyGuard guard;
  try {
    Json value =
        Json::parse(text.begin(), text.end(),
                    [&guard](int, Json::parse_event_t event, Json& parsed) {
                      guard.OnEvent(event, parsed);
                      return true;
                    });
    if (!guard.repeated().empty()) {
      return InvalidArgument("the key {} occurs twice in an object",
                             guard.repeated());
    }
    return value;
  } catch (const Json::parse_error& error) {
    return InvalidArgument("not valid JSON at byte {}", error.byte);
  } catch (const Json::exception& error) {
    return InvalidArgument("JSON number out of range");
  }
}

StatusOr<std::string> DumpJson(const Json& value, int indent) {
  if (!IsFinite(value)) {
    return InvalidArgument("JSON cannot hold a number that is not finite");
  }
  try {
    return value.dump(indent);
  } catch (const Json::exception& error) {
    return InvalidArgument("text for JSON is not UTF-8");
  }
}

}  // namespace tributary

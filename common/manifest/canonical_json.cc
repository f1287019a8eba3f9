#include "common/manifest/canonical_json.h"

#include <nlohmann/json.hpp>

namespace tributary::manifest {

StatusOr<std::string> CanonicalJson(const Json& value) {
  return DumpJson(value);
}

StatusOr<std::string> CanonicalizeJson(std::string_view text,
                                       const JsonLimits& limits) {
  ASSIGN_OR_RETURN(const Json value, ParseJson(text, limits));
  return CanonicalJson(value);
}

}  // namespace tributary::manifest

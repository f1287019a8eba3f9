#pragma once

#include <string>
#include <string_view>

namespace tributary::text {

enum class JsonTextFault {
  kNone,
  kNotAnObject,  // not JSON, or another value
  kNoText,       // no such field, twice, or not a string
};

// Takes the string field `field` out of the JSON object `line`, which is UTF-8,
// without building anything of the rest.
JsonTextFault ReadJsonText(std::string_view line, std::string_view field,
                           std::string* text);

}  // namespace tributary::text

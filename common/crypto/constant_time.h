#pragma once

#include <string_view>

namespace tributary::crypto {

// Whether two secrets are equal; the time taken depends on their lengths only.
bool ConstantTimeEquals(std::string_view a, std::string_view b);

}  // namespace tributary::crypto

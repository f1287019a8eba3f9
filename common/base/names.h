#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary {

// Whether `text` can name a federation, a contributor, a contribution or an
// anchor; what it must be is kNameRule.
bool IsValidName(std::string_view text);
inline constexpr std::string_view kNameRule =
    "1 to 63 of a-z, 0-9 and \"-\", not beginning or ending with \"-\"";

struct HostPort {
  std::string host;  // an IPv6 address has no brackets here
  uint16_t port = 0;

  // "host:port", "[address]:port" for IPv6.
  std::string ToString() const;
};

// INVALID_ARGUMENT unless `text` is "host:port" with a port of 0 to 65535; an
// IPv6 address stands in brackets.
StatusOr<HostPort> ParseHostPort(std::string_view text);

}  // namespace tributary

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary {

// The offset of the first byte that is not valid UTF-8 (overlong forms,
// surrogates and values above U+10FFFF are not), or nothing.
std::optional<size_t> FirstInvalidUtf8(std::string_view text);

// "1.5 GiB", "12 KiB", "3 B".
std::string HumanBytes(uint64_t bytes);

// "2m 05s", "0.8s".
std::string HumanDuration(double seconds);

// RFC 3339 in UTC with seconds: "2031-02-03T04:05:06Z".
std::string FormatTime(double seconds_since_epoch);

// A duration such as "90s", "15m", "72h", "30d", in seconds.
// INVALID_ARGUMENT for anything else.
StatusOr<double> ParseDuration(std::string_view text);

// Lower-case hexadecimal.
std::string ToHex(std::string_view bytes);

}  // namespace tributary

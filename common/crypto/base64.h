#pragma once

#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::crypto {

// Base64 (RFC 4648 section 4) with padding and without line breaks.
std::string EncodeBase64(std::string_view bytes);

// The inverse. INVALID_ARGUMENT for other characters, wrong padding and
// non-zero unused bits: exactly one text stands for some bytes.
StatusOr<std::string> DecodeBase64(std::string_view text);

// Bytes of hexadecimal digits of either case. INVALID_ARGUMENT otherwise.
StatusOr<std::string> DecodeHex(std::string_view text);

}  // namespace tributary::crypto

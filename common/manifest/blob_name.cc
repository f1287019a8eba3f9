#include "common/manifest/blob_name.h"

#include <charconv>

#include "common/crypto/digest.h"

namespace tributary::manifest {
namespace {

constexpr std::string_view kPrefix = "blobs/sha256/";
constexpr size_t kHexDigits = 64;

}  // namespace

StatusOr<BlobName> BlobName::Parse(std::string_view text) {
  const auto refuse = [&] {
    return InvalidArgument(
        "blob name: got \"{}\", wanted blobs/sha256/{{64 lower-case "
        "hexadecimal digits}}/{{size in bytes}}",
        text.substr(0, 160));
  };
  if (!text.starts_with(kPrefix) ||
      text.size() < kPrefix.size() + kHexDigits + 2 ||
      text[kPrefix.size() + kHexDigits] != '/') {
    return refuse();
  }
  BlobName name{.sha256 = std::string(text.substr(kPrefix.size(), kHexDigits))};
  const std::string_view digits = text.substr(kPrefix.size() + kHexDigits + 1);
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), name.size);
  if (error != std::errc() || end != digits.data() + digits.size() ||
      (digits.size() > 1 && digits.front() == '0') ||
      name.size > uint64_t{INT64_MAX} || !crypto::IsSha256Hex(name.sha256)) {
    return refuse();
  }
  return name;
}

std::string BlobName::ToString() const {
  return fmt::format("{}{}/{}", kPrefix, sha256, size);
}

}  // namespace tributary::manifest

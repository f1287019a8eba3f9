// The invitation file that a data owner was handed, and PEM inside it.

#include <cstdint>
#include <string_view>

#include "common/crypto/certificate.h"
#include "common/manifest/invitation.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  tributary::manifest::Invitation::FromJson(bytes).status().IgnoreError();
  tributary::crypto::Certificate::FromPem(std::string(bytes))
      .status()
      .IgnoreError();
  return 0;
}

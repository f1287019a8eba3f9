// DSSE envelopes: parsing, and verification with a key that signed nothing.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/crypto/dsse.h"
#include "common/crypto/key.h"
#include "common/manifest/expert_manifest.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using tributary::crypto::Envelope;
  static const auto key = tributary::crypto::PrivateKey::Generate();
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  const auto envelope = Envelope::FromJson(json);
  tributary::manifest::ReadExpertManifestUnverified(json)
      .status()
      .IgnoreError();
  if (!envelope.ok()) {
    return 0;
  }
  const auto again = Envelope::FromJson(envelope->ToJson());
  if (!again.ok() || again->payload != envelope->payload ||
      tributary::crypto::VerifyEnvelope(*envelope, key->public_key()).ok()) {
    std::abort();
  }
  return 0;
}

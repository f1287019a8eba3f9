// Every signed or hashed JSON structure. What a reader accepts it writes back
// to the same bytes.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/manifest/anchor_manifest.h"
#include "common/manifest/audit_record.h"
#include "common/manifest/blob_name.h"
#include "common/manifest/expert_manifest.h"
#include "common/manifest/receipts.h"
#include "common/manifest/release_manifest.h"
#include "common/manifest/statement.h"

namespace tributary::manifest {
namespace {

template <typename Manifest>
void RoundTrip(std::string_view json) {
  const StatusOr<Manifest> parsed = Manifest::FromJson(json);
  if (!parsed.ok()) {
    return;
  }
  const StatusOr<std::string> written = parsed->ToJson();
  if (!written.ok() || *written != json) {
    std::abort();
  }
}

}  // namespace
}  // namespace tributary::manifest

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace manifest = tributary::manifest;
  const std::string_view json(reinterpret_cast<const char*>(data), size);
  manifest::RoundTrip<manifest::ExpertManifest>(json);
  manifest::RoundTrip<manifest::AnchorManifest>(json);
  manifest::RoundTrip<manifest::ReleaseManifest>(json);
  manifest::RoundTrip<manifest::ReleaseStatement>(json);
  manifest::RoundTrip<manifest::WithdrawalReceipt>(json);
  manifest::RoundTrip<manifest::PurgeReceipt>(json);
  manifest::RoundTrip<manifest::AuditCheckpoint>(json);
  manifest::Statement::FromJson(json).status().IgnoreError();
  const auto blob = manifest::BlobName::Parse(json);
  if (blob.ok() && blob->ToString() != json) {
    std::abort();
  }
  return 0;
}

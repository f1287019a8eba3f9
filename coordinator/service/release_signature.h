#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>

#include "common/base/status.h"
#include "coordinator/service/service_context.h"
#include "coordinator/storage/release_store.h"

namespace tributary::coordinator {

// model.sig of releases that are served: the coordinator's signature over every
// file, with its digest, as the release's folder holds them (docs/formats.md).
// Made from what the database knows; no file is read. Kept, since signatures
// are randomised and readers compare files. Safe to use from any thread.
class ReleaseSignatures {
 public:
  StatusOr<std::string> Of(const ServiceContext& context,
                           Transaction& transaction, const ReleaseRow& release);

 private:
  struct Entry {
    std::string signer_certificate_pem;
    std::string bundle_json;
  };
  std::mutex mutex_;
  std::map<int64_t, Entry> entries_;  // guarded by mutex_, by release
};

}  // namespace tributary::coordinator

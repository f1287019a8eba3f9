#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/manifest/blob_name.h"
#include "coordinator/storage/database.h"

namespace tributary::coordinator {

// Which blobs are there and what keeps each of them. Owners are resource
// names: anchors/x, contributions/x, releases/n.
class BlobTable {
 public:
  explicit BlobTable(Transaction& transaction) : transaction_(transaction) {}

  // Records a blob that is complete in the store, and who needs it.
  void Add(const manifest::BlobName& name, std::string_view owner,
           int64_t now_s);
  bool Contains(const manifest::BlobName& name);
  void RemoveReference(const manifest::BlobName& name, std::string_view owner);
  // Removes all references of an owner.
  void RemoveOwner(std::string_view owner);
  std::vector<std::string> OwnersOf(const manifest::BlobName& name);
  std::vector<manifest::BlobName> BlobsOf(std::string_view owner);
  std::vector<manifest::BlobName> ListUnreferenced();
  std::vector<manifest::BlobName> List();
  // Forgets a blob that nothing refers to; false when something does.
  bool Forget(const manifest::BlobName& name);
  // Bytes of all blobs.
  int64_t TotalBytes();

 private:
  Transaction& transaction_;
};

}  // namespace tributary::coordinator

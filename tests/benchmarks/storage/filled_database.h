#pragma once

// A coordinator's database with as many contributions as are asked for.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "common/base/clock.h"
#include "common/crypto/key.h"
#include "coordinator/blob/directory_blob_store.h"
#include "coordinator/storage/core.h"

namespace tributary::benchmarks {

// Contributions of one contributor, and experts of one release.
inline constexpr int kPerContributor = 50;

class FilledDatabase {
 public:
  // In a new home below `root`: contributions c0, c1, ... of contributors with
  // kPerContributor each, all accepted, every contributor's in a release, with
  // manifests of usual size, blobs and audit records.
  static StatusOr<std::unique_ptr<FilledDatabase>> Create(
      const std::filesystem::path& root, int contributions,
      const crypto::PrivateKey& signer);

  // As it was after Create.
  Status Reset();

  int contributions() const { return contributions_; }
  const coordinator::Core& core() const { return *core_; }
  coordinator::Database& database() { return *database_; }

 private:
  FilledDatabase(const std::filesystem::path& root, int contributions,
                 const crypto::PrivateKey& signer)
      : home_(root), contributions_(contributions), signer_(signer) {}
  Status Fill();
  Status Open();

  const coordinator::Home home_;
  const coordinator::Settings settings_{.federation = "benchmark"};
  const int contributions_;
  const crypto::PrivateKey& signer_;
  std::unique_ptr<coordinator::Database> database_;
  std::unique_ptr<coordinator::DirectoryBlobStore> store_;
  std::unique_ptr<coordinator::BlobCatalog> catalog_;
  std::unique_ptr<coordinator::Core> core_;
};

// The name of the i-th contribution, and of its contributor.
std::string ContributionId(int i);
std::string ContributorId(int i);

}  // namespace tributary::benchmarks

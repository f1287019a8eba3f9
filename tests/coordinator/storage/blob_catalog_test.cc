#include "coordinator/storage/blob_catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>

#include "common/base/files.h"
#include "coordinator/blob/directory_blob_store.h"
#include "coordinator/storage/blob_table.h"

namespace tributary::coordinator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

class BlobCatalogTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = TemporaryDirectory::Create("catalog");
    ASSERT_TRUE(directory.ok());
    directory_.emplace(*std::move(directory));
    database_ = *Database::Open(directory_->path() / "state.sqlite",
                                Database::Mode::kCreate);
    store_ = *DirectoryBlobStore::Create(
        {.blobs = directory_->path() / "blobs",
         .uploads = directory_->path() / "uploads"});
    catalog_.emplace(*database_, *store_, SystemClock());
  }

  BlobName Store(const std::string& bytes,
                 const std::vector<std::string>& owners) {
    const auto file = directory_->path() / "file";
    EXPECT_TRUE(WriteFileAtomic(file, bytes).ok());
    const BlobName name = *store_->Import(file);
    for (const std::string& owner : owners) {
      EXPECT_TRUE(database_
                      ->Transact([&](Transaction& transaction) {
                        BlobTable(transaction).Add(name, owner, 1);
                        return absl::OkStatus();
                      })
                      .ok());
    }
    return name;
  }

  void Drop(const std::string& owner) {
    EXPECT_TRUE(database_
                    ->Transact([&](Transaction& transaction) {
                      BlobTable(transaction).RemoveOwner(owner);
                      return absl::OkStatus();
                    })
                    .ok());
  }

  std::optional<TemporaryDirectory> directory_;
  std::unique_ptr<Database> database_;
  std::unique_ptr<DirectoryBlobStore> store_;
  std::optional<BlobCatalog> catalog_;
};

TEST_F(BlobCatalogTest, DeletesOnlyWhatNothingRefersTo) {
  const BlobName shared =
      Store("shared", {"contributions/a", "contributions/b"});
  const BlobName own = Store("own", {"contributions/a"});
  EXPECT_THAT(catalog_->DeleteUnreferenced({shared, own}).value(), IsEmpty());
  Drop("contributions/a");
  EXPECT_THAT(catalog_->DeleteUnreferenced({shared, own}).value(),
              ElementsAre(own));
  EXPECT_TRUE(store_->Contains(shared).value());
  EXPECT_FALSE(store_->Contains(own).value());
}

TEST_F(BlobCatalogTest, CollectsFilesWithoutRowsAndUploadsWithoutRows) {
  const BlobName kept = Store("kept", {"anchors/a"});
  const BlobName orphan = Store("orphan", {});
  const BlobName dropped = Store("dropped", {"releases/1"});
  Drop("releases/1");
  { ASSERT_TRUE(store_->BeginWrite(kept, "stray", {}).ok()); }
  const auto report = catalog_->Collect();
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_EQ(report->deleted_blobs, 2);
  EXPECT_EQ(report->deleted_uploads, 1);
  EXPECT_THAT(store_->List().value(), ElementsAre(kept));
  EXPECT_FALSE(store_->Contains(orphan).value());
  EXPECT_FALSE(store_->Contains(dropped).value());
}

TEST_F(BlobCatalogTest, NamesWhatTheDiskHasLost) {
  const BlobName kept = Store("kept", {"contributions/a"});
  const BlobName lost = Store("lost", {"contributions/b", "releases/1"});
  const BlobName cut = Store("cut short", {"anchors/x"});
  EXPECT_THAT(catalog_->FindMissing(10).value(), IsEmpty());
  ASSERT_TRUE(store_->Delete(lost).ok());
  std::filesystem::permissions(store_->PathOf(cut),
                               std::filesystem::perms::owner_write,
                               std::filesystem::perm_options::add);
  std::filesystem::resize_file(store_->PathOf(cut), 3);
  const auto missing = catalog_->FindMissing(10);
  ASSERT_TRUE(missing.ok()) << missing.status();
  ASSERT_EQ(missing->size(), 2u);
  for (const MissingBlob& blob : *missing) {
    EXPECT_NE(blob.name, kept);
    if (blob.name == lost) {
      EXPECT_THAT(blob.owners, ElementsAre("contributions/b", "releases/1"));
    }
  }
  EXPECT_EQ(catalog_->FindMissing(1)->size(), 1u);
}

}  // namespace
}  // namespace tributary::coordinator

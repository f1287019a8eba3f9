#include "contributor/cache/blob_cache.h"

#include "common/base/files.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

manifest::BlobName NameOf(const std::string& bytes) {
  return {.sha256 = crypto::Sha256Hex(bytes), .size = bytes.size()};
}

class BlobCacheTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryDirectory::Create("blob-cache-test");
    ASSERT_TRUE(folder.ok());
    folder_.emplace(*std::move(folder));
    Reopen();
  }

  void Reopen() {
    auto cache = BlobCache::Create(folder_->path() / "cache");
    ASSERT_TRUE(cache.ok()) << cache.status();
    cache_ = *std::move(cache);
  }

  void Put(const std::string& bytes) {
    auto download = cache_->Open(NameOf(bytes));
    ASSERT_TRUE(download.ok()) << download.status();
    ASSERT_TRUE(download->Append(bytes).ok());
    ASSERT_TRUE(download->Finish().ok());
  }

  std::optional<TemporaryDirectory> folder_;
  std::unique_ptr<BlobCache> cache_;
};

TEST_F(BlobCacheTest, ABlobAppearsOnlyWhenItIsComplete) {
  const std::string bytes = "hello, blob";
  auto download = cache_->Open(NameOf(bytes));
  ASSERT_TRUE(download.ok());
  ASSERT_TRUE(download->Append(bytes.substr(0, 5)).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(download->Finish().status()));
  EXPECT_TRUE(absl::IsNotFound(cache_->Find(NameOf(bytes)).status()));
  ASSERT_TRUE(download->Append(bytes.substr(5)).ok());
  const auto path = download->Finish();
  ASSERT_TRUE(path.ok()) << path.status();
  EXPECT_EQ(*ReadFile(*path), bytes);
  EXPECT_EQ(*cache_->Find(NameOf(bytes)), *path);
}

TEST_F(BlobCacheTest, APartialDownloadGoesOnAfterARestart) {
  const std::string bytes = "0123456789";
  {
    auto download = cache_->Open(NameOf(bytes));
    ASSERT_TRUE(download.ok());
    ASSERT_TRUE(download->Append("0123").ok());
  }
  Reopen();
  EXPECT_EQ(cache_->PartialSize(NameOf(bytes)), 4u);
  auto download = cache_->Open(NameOf(bytes));
  ASSERT_TRUE(download.ok());
  EXPECT_EQ(download->offset(), 4u);
  ASSERT_TRUE(download->Append("456789").ok());
  EXPECT_TRUE(download->Finish().ok());
}

TEST_F(BlobCacheTest, WrongBytesAreRefusedAndForgotten) {
  const manifest::BlobName blob = NameOf("right");
  auto download = cache_->Open(blob);
  ASSERT_TRUE(download.ok());
  ASSERT_TRUE(download->Append("wrong").ok());
  EXPECT_TRUE(absl::IsDataLoss(download->Finish().status()));
  EXPECT_EQ(cache_->PartialSize(blob), 0u);
  EXPECT_FALSE(cache_->Find(blob).ok());
}

TEST_F(BlobCacheTest, MoreBytesThanTheNameSaysAreRefused) {
  auto download = cache_->Open(NameOf("abc"));
  ASSERT_TRUE(download.ok());
  const Status status = download->Append("abcd");
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()), HasSubstr("more than 3 bytes"));
}

TEST_F(BlobCacheTest, ADecayedBlobIsDeleted) {
  const std::string bytes = "fresh bytes";
  Put(bytes);
  const fs::path path = *cache_->Find(NameOf(bytes));
  fs::permissions(path, fs::perms::owner_all);
  ASSERT_TRUE(WriteFileAtomic(path, "stale bytes").ok());
  EXPECT_TRUE(absl::IsDataLoss(cache_->Verify(NameOf(bytes)).status()));
  EXPECT_TRUE(absl::IsNotFound(cache_->Find(NameOf(bytes)).status()));
  Put(bytes);
  EXPECT_TRUE(cache_->Verify(NameOf(bytes)).ok());
}

TEST_F(BlobCacheTest, AdoptsAFileOnlyUnderItsOwnDigest) {
  const fs::path file = folder_->path() / "file";
  ASSERT_TRUE(WriteFileAtomic(file, "content").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(cache_->Adopt(NameOf("other"), file)));
  EXPECT_TRUE(cache_->Adopt(NameOf("content"), file).ok());
  EXPECT_TRUE(cache_->Verify(NameOf("content")).ok());
}

}  // namespace
}  // namespace tributary::contributor

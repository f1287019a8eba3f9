#include "contributor/cache/materialise.h"

#include <sys/stat.h>

#include <optional>

#include "common/base/files.h"
#include "gtest/gtest.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;

manifest::BlobName NameOf(const std::string& bytes) {
  return {.sha256 = crypto::Sha256Hex(bytes), .size = bytes.size()};
}

class MaterialiseTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryDirectory::Create("materialise-test");
    ASSERT_TRUE(folder.ok());
    folder_.emplace(*std::move(folder));
    auto cache = BlobCache::Create(folder_->path() / "cache");
    ASSERT_TRUE(cache.ok());
    cache_ = *std::move(cache);
    target_ = folder_->path() / "out" / "anchor";
  }

  manifest::BlobName Put(const std::string& bytes) {
    auto download = cache_->Open(NameOf(bytes));
    EXPECT_TRUE(download.ok() && download->Append(bytes).ok() &&
                download->Finish().ok());
    return NameOf(bytes);
  }

  // Names of everything below the parent of the target.
  size_t EntriesBeside() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(target_.parent_path()),
                      fs::directory_iterator()));
  }

  std::optional<TemporaryDirectory> folder_;
  std::unique_ptr<BlobCache> cache_;
  fs::path target_;
};

TEST_F(MaterialiseTest, FilesAreHardLinksOfTheCache) {
  const manifest::BlobName blob = Put("weights");
  const std::vector<MaterialisedFile> files = {
      {.path = "model.safetensors", .content = blob},
      {.path = "public/text/prose.jsonl", .content = Put("text")},
      {.path = "release.json", .content = "{}"}};
  ASSERT_TRUE(Materialise(*cache_, files, target_).ok());
  struct stat linked = {};
  struct stat cached = {};
  ASSERT_EQ(stat((target_ / "model.safetensors").c_str(), &linked), 0);
  ASSERT_EQ(stat(cache_->Find(blob)->c_str(), &cached), 0);
  EXPECT_EQ(linked.st_ino, cached.st_ino);
  EXPECT_EQ(*ReadFile(target_ / "public/text/prose.jsonl"), "text");
  EXPECT_EQ(*ReadFile(target_ / "release.json"), "{}");
  EXPECT_EQ(EntriesBeside(), 1u);
}

TEST_F(MaterialiseTest, AMissingBlobLeavesNothingBehind) {
  const Status status =
      Materialise(*cache_,
                  {{.path = "a", .content = Put("a")},
                   {.path = "b", .content = NameOf("never downloaded")}},
                  target_);
  EXPECT_TRUE(absl::IsNotFound(status)) << status;
  EXPECT_FALSE(fs::exists(target_));
  EXPECT_EQ(EntriesBeside(), 0u);
}

TEST_F(MaterialiseTest, RepairsWhatWasAlteredAddedOrRemoved) {
  const std::vector<MaterialisedFile> files = {
      {.path = "a", .content = Put("first")},
      {.path = "b", .content = Put("second")}};
  ASSERT_TRUE(Materialise(*cache_, files, target_).ok());

  fs::remove(target_ / "a");
  ASSERT_TRUE(WriteFileAtomic(target_ / "a", "other").ok());
  ASSERT_TRUE(Materialise(*cache_, files, target_).ok());
  EXPECT_EQ(*ReadFile(target_ / "a"), "first");

  fs::remove(target_ / "b");
  ASSERT_TRUE(Materialise(*cache_, files, target_).ok());
  EXPECT_EQ(*ReadFile(target_ / "b"), "second");

  ASSERT_TRUE(WriteFileAtomic(target_ / "stray", "x").ok());
  ASSERT_TRUE(Materialise(*cache_, files, target_).ok());
  EXPECT_FALSE(fs::exists(target_ / "stray"));
}

TEST_F(MaterialiseTest, PathsThatCouldLeaveTheFolderAreRefused) {
  for (const char* path : {"", "/etc/passwd", "../x", "a/../x", "a//b", "a/",
                           ".", "a/./b", "a\\b", "a\nb"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CheckRelativePath(path))) << path;
    EXPECT_FALSE(
        Materialise(*cache_, {{.path = path, .content = "x"}}, target_).ok());
  }
  EXPECT_TRUE(CheckRelativePath("public/text/prose.jsonl").ok());
  EXPECT_TRUE(CheckRelativePath("..a").ok());
}

}  // namespace
}  // namespace tributary::contributor

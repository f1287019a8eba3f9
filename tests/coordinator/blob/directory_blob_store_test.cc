#include "coordinator/blob/directory_blob_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "common/base/files.h"
#include "common/crypto/digest.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;

BlobName NameOf(const std::string& bytes) {
  return {crypto::Sha256Hex(bytes), bytes.size()};
}

std::string Content(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class DirectoryBlobStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    auto directory = TemporaryDirectory::Create("blob-store");
    ASSERT_TRUE(directory.ok()) << directory.status();
    directory_.emplace(*std::move(directory));
    Reopen();
  }

  void Reopen() {
    auto store =
        DirectoryBlobStore::Create({.blobs = directory_->path() / "blobs",
                                    .uploads = directory_->path() / "uploads"});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  // What a kill would leave: bytes written but never synced nor recorded.
  void LeavePartial(const BlobName& name, const std::string& bytes,
                    size_t synced) {
    auto writer = store_->BeginWrite(name, "up", {});
    ASSERT_TRUE(writer.ok()) << writer.status();
    ASSERT_TRUE((*writer)->Append(bytes.substr(0, synced)).ok());
    ASSERT_EQ((*writer)->Sync().value_or(0), synced);
    ASSERT_TRUE((*writer)->Append(bytes.substr(synced)).ok());
  }

  std::optional<TemporaryDirectory> directory_;
  std::unique_ptr<DirectoryBlobStore> store_;
};

TEST_F(DirectoryBlobStoreTest, WritesAndReadsBack) {
  const std::string bytes(300'000, 'x');
  const BlobName name = NameOf(bytes);
  auto writer = store_->BeginWrite(name, "up", {});
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE((*writer)->Append(bytes).ok());
  EXPECT_FALSE(store_->Contains(name).value_or(true));
  ASSERT_TRUE((*writer)->Commit().ok());
  EXPECT_TRUE(store_->Contains(name).value_or(false));
  EXPECT_THAT(store_->ListWrites().value(), testing::IsEmpty());
  EXPECT_THAT(store_->List().value(), testing::ElementsAre(name));

  auto reader = store_->OpenReader(name);
  ASSERT_TRUE(reader.ok()) << reader.status();
  std::string out(bytes.size() + 5, '\0');
  EXPECT_EQ((*reader)->Read(0, out).value_or(0), bytes.size());
  EXPECT_EQ((*reader)->Read(bytes.size() - 3, out).value_or(0), 3u);
}

TEST_F(DirectoryBlobStoreTest, ResumesAtTheRecordedOffset) {
  const std::string bytes = "The recorded part. The part that was lost.";
  const BlobName name = NameOf(bytes);
  LeavePartial(name, "The recorded part. Garbage beyond", 19);
  Reopen();
  auto writer = store_->BeginWrite(name, "up", {.size = 19});
  ASSERT_TRUE(writer.ok()) << writer.status();
  EXPECT_EQ((*writer)->offset(), 19u);
  EXPECT_EQ(fs::file_size(directory_->path() / "uploads/up"), 19u);
  ASSERT_TRUE((*writer)->Append(bytes.substr(19)).ok());
  EXPECT_TRUE((*writer)->Commit().ok());
  EXPECT_EQ(Content(store_->PathOf(name)), bytes);
}

TEST_F(DirectoryBlobStoreTest, StartingAgainAtZeroForgetsThePartial) {
  const std::string bytes = "fresh";
  LeavePartial(NameOf(bytes), "stal", 4);
  auto writer = store_->BeginWrite(NameOf(bytes), "up", {});
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->Append(bytes).ok());
  EXPECT_TRUE((*writer)->Commit().ok());
}

TEST_F(DirectoryBlobStoreTest, LostPartialIsDataLoss) {
  const BlobName name = NameOf("0123456789");
  EXPECT_TRUE(
      absl::IsDataLoss(store_->BeginWrite(name, "gone", {.size = 5}).status()));
  LeavePartial(name, "0123", 4);
  EXPECT_TRUE(
      absl::IsDataLoss(store_->BeginWrite(name, "up", {.size = 5}).status()));
}

TEST_F(DirectoryBlobStoreTest, WrongDigestDeletesThePartial) {
  const BlobName name = NameOf("right");
  auto writer = store_->BeginWrite(name, "up", {});
  ASSERT_TRUE((*writer)->Append("wrong").ok());
  const Status status = (*writer)->Commit();
  EXPECT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr(crypto::Sha256Hex("wrong")));
  EXPECT_THAT(store_->ListWrites().value(), testing::IsEmpty());
  EXPECT_FALSE(store_->Contains(name).value_or(true));
}

TEST_F(DirectoryBlobStoreTest, TooManyAndTooFewBytes) {
  const BlobName name = NameOf("four");
  auto writer = store_->BeginWrite(name, "up", {});
  ASSERT_TRUE((*writer)->Append("fo").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition((*writer)->Commit()));
  EXPECT_TRUE(absl::IsOutOfRange((*writer)->Append("urth")));
  ASSERT_TRUE((*writer)->Append("ur").ok());
  EXPECT_TRUE((*writer)->Commit().ok());
}

TEST_F(DirectoryBlobStoreTest, SecondUploadOfTheSameBytes) {
  const std::string bytes = "the same from two owners";
  for (const char* id : {"one", "two"}) {
    auto writer = store_->BeginWrite(NameOf(bytes), id, {});
    ASSERT_TRUE((*writer)->Append(bytes).ok());
    EXPECT_TRUE((*writer)->Commit().ok());
  }
  EXPECT_THAT(store_->ListWrites().value(), testing::IsEmpty());
}

TEST_F(DirectoryBlobStoreTest, DeleteKeepsOpenReadersAlive) {
  const fs::path file = directory_->path() / "file";
  ASSERT_TRUE(WriteFileAtomic(file, "content").ok());
  const auto name = store_->Import(file);
  ASSERT_TRUE(name.ok()) << name.status();
  auto reader = store_->OpenReader(*name);
  ASSERT_TRUE(store_->Delete(*name).ok());
  EXPECT_TRUE(store_->Delete(*name).ok());
  EXPECT_TRUE(absl::IsNotFound(store_->OpenReader(*name).status()));
  std::string out(7, '\0');
  EXPECT_EQ((*reader)->Read(0, out).value_or(0), 7u);
  EXPECT_EQ(out, "content");
}

TEST_F(DirectoryBlobStoreTest, MaterialisedFilesShareBytesAndAreReadOnly) {
  const fs::path file = directory_->path() / "file";
  ASSERT_TRUE(WriteFileAtomic(file, "weights").ok());
  const BlobName name = *store_->Import(file);
  const fs::path target = directory_->path() / "release/experts/a.safetensors";
  ASSERT_TRUE(store_->Materialise(name, target).ok());
  ASSERT_TRUE(store_->Materialise(name, target).ok());
  EXPECT_EQ(Content(target), "weights");
  EXPECT_TRUE(fs::equivalent(target, store_->PathOf(name)));
  EXPECT_EQ(fs::status(target).permissions() & fs::perms::owner_write,
            fs::perms::none);
  EXPECT_TRUE(absl::IsNotFound(store_->Materialise(NameOf("other"), target)));
}

TEST_F(DirectoryBlobStoreTest, AnotherSizeUnderTheNameIsDataLoss) {
  const fs::path file = directory_->path() / "file";
  ASSERT_TRUE(WriteFileAtomic(file, "weights").ok());
  const BlobName name = *store_->Import(file);
  fs::permissions(store_->PathOf(name), fs::perms::owner_write,
                  fs::perm_options::add);
  fs::resize_file(store_->PathOf(name), 3);
  EXPECT_TRUE(absl::IsDataLoss(store_->OpenReader(name).status()));
  EXPECT_FALSE(store_->Contains(name).value_or(true));
}

}  // namespace
}  // namespace tributary::coordinator

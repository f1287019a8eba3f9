// What every implementation of BlobStore does: the same tests over all of them.
// a new backend is one more value at the end.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "coordinator/blob/directory_blob_store.h"
#include "tests/coordinator/blob/memory_blob_store.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

// A store of one backend that can be killed and started again.
class Subject {
 public:
  virtual ~Subject() = default;
  virtual BlobStore& store() = 0;
  virtual void Restart() = 0;
};

class DirectorySubject final : public Subject {
 public:
  explicit DirectorySubject(fs::path folder) : folder_(std::move(folder)) {
    Restart();
  }
  BlobStore& store() override { return *store_; }
  void Restart() override {
    store_ = *DirectoryBlobStore::Create(
        {.blobs = folder_ / "blobs", .uploads = folder_ / "uploads"});
  }

 private:
  const fs::path folder_;
  std::unique_ptr<DirectoryBlobStore> store_;
};

class MemorySubject final : public Subject {
 public:
  explicit MemorySubject(const fs::path&) {}
  BlobStore& store() override { return store_; }
  void Restart() override { store_.Restart(); }

 private:
  MemoryBlobStore store_;
};

struct Backend {
  const char* name;
  std::function<std::unique_ptr<Subject>(const fs::path&)> make;
};

template <typename T>
Backend Of(const char* name) {
  return {name, [](const fs::path& folder) -> std::unique_ptr<Subject> {
            return std::make_unique<T>(folder);
          }};
}

BlobName NameOf(const std::string& bytes) {
  return {crypto::Sha256Hex(bytes), bytes.size()};
}

class BlobStoreConformance : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    auto directory = TemporaryDirectory::Create("conformance");
    ASSERT_TRUE(directory.ok());
    directory_.emplace(*std::move(directory));
    subject_ = GetParam().make(directory_->path() / "store");
  }

  BlobStore& store() { return subject_->store(); }

  std::unique_ptr<BlobWriter> Begin(const BlobName& name, const std::string& id,
                                    uint64_t size = 0) {
    auto writer = store().BeginWrite(name, id, {.size = size});
    EXPECT_TRUE(writer.ok()) << writer.status();
    return writer.ok() ? *std::move(writer) : nullptr;
  }

  BlobName Put(const std::string& bytes) {
    const fs::path file = directory_->path() / "file";
    EXPECT_TRUE(WriteFileAtomic(file, bytes).ok());
    return *store().Import(file);
  }

  std::string Read(const BlobName& name) {
    auto reader = store().OpenReader(name);
    if (!reader.ok()) {
      return reader.status().ToString();
    }
    std::string out((*reader)->size(), '\0');
    EXPECT_EQ((*reader)->Read(0, out).value_or(0), out.size());
    return out;
  }

  std::optional<TemporaryDirectory> directory_;
  std::unique_ptr<Subject> subject_;
};

TEST_P(BlobStoreConformance, ABlobAppearsWholeOrNotAtAll) {
  const std::string bytes(100'000, 'x');
  const BlobName name = NameOf(bytes);
  const auto writer = Begin(name, "up");
  const std::string_view pieces[] = {std::string_view(bytes).substr(0, 60'000),
                                     std::string_view(bytes).substr(60'000)};
  ASSERT_TRUE(writer->Append(pieces).ok());
  EXPECT_EQ(writer->offset(), bytes.size());
  EXPECT_FALSE(store().Contains(name).value_or(true));
  EXPECT_TRUE(absl::IsNotFound(store().OpenReader(name).status()));
  EXPECT_THAT(store().ListWrites().value(), ElementsAre("up"));
  ASSERT_TRUE(writer->Commit().ok());
  EXPECT_TRUE(store().Contains(name).value_or(false));
  EXPECT_THAT(store().ListWrites().value(), IsEmpty());
  subject_->Restart();
  EXPECT_EQ(Read(name), bytes);
}

TEST_P(BlobStoreConformance, GoesOnWhereItWasSynced) {
  const std::string bytes = "The recorded part. The part that was lost.";
  const BlobName name = NameOf(bytes);
  {
    const auto writer = Begin(name, "up");
    ASSERT_TRUE(writer->Append(bytes.substr(0, 19)).ok());
    ASSERT_EQ(writer->Sync().value_or(0), 19u);
    ASSERT_TRUE(writer->Append("Garbage").ok());
  }
  subject_->Restart();
  const auto writer = Begin(name, "up", 19);
  EXPECT_EQ(writer->offset(), 19u);
  ASSERT_TRUE(writer->Append(bytes.substr(19)).ok());
  ASSERT_TRUE(writer->Commit().ok());
  EXPECT_EQ(Read(name), bytes);
}

TEST_P(BlobStoreConformance, MoreThanIsThereCannotBeResumed) {
  const BlobName name = NameOf("0123456789");
  EXPECT_TRUE(
      absl::IsDataLoss(store().BeginWrite(name, "gone", {.size = 5}).status()));
}

TEST_P(BlobStoreConformance, WrongBytesAreDeleted) {
  const BlobName name = NameOf("right");
  const auto writer = Begin(name, "up");
  ASSERT_TRUE(writer->Append("wrong").ok());
  EXPECT_TRUE(absl::IsInvalidArgument(writer->Commit()));
  EXPECT_THAT(store().ListWrites().value(), IsEmpty());
  EXPECT_FALSE(store().Contains(name).value_or(true));
}

TEST_P(BlobStoreConformance, TooManyAndTooFewBytes) {
  const auto writer = Begin(NameOf("four"), "up");
  ASSERT_TRUE(writer->Append("fo").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(writer->Commit()));
  EXPECT_TRUE(absl::IsOutOfRange(writer->Append("urth")));
  ASSERT_TRUE(writer->Append("ur").ok());
  EXPECT_TRUE(writer->Commit().ok());
}

TEST_P(BlobStoreConformance, TwoUploadsOfTheSameBytesDoNotMeet) {
  const std::string bytes = "the same from two owners";
  const auto one = Begin(NameOf(bytes), "one");
  const auto two = Begin(NameOf(bytes), "two");
  ASSERT_TRUE(one->Append(bytes).ok());
  EXPECT_EQ(two->offset(), 0u);
  ASSERT_TRUE(one->Commit().ok());
  ASSERT_TRUE(two->Append(bytes).ok());
  EXPECT_TRUE(two->Commit().ok());
  EXPECT_THAT(store().List().value(), ElementsAre(NameOf(bytes)));
}

TEST_P(BlobStoreConformance, DiscardedUploadsAreGone) {
  ASSERT_TRUE(Begin(NameOf("0123"), "up")->Append("01").ok());
  EXPECT_TRUE(store().DiscardWrite("up").ok());
  EXPECT_TRUE(store().DiscardWrite("up").ok());
  EXPECT_THAT(store().ListWrites().value(), IsEmpty());
}

TEST_P(BlobStoreConformance, DeletingKeepsOpenReadersAlive) {
  const BlobName name = Put("content");
  auto reader = store().OpenReader(name);
  ASSERT_TRUE(reader.ok()) << reader.status();
  EXPECT_TRUE(store().Delete(name).ok());
  EXPECT_TRUE(store().Delete(name).ok());
  EXPECT_TRUE(absl::IsNotFound(store().OpenReader(name).status()));
  std::string out(3, '\0');
  EXPECT_EQ((*reader)->Read(4, out).value_or(0), 3u);
  EXPECT_EQ(out, "ent");
  EXPECT_EQ((*reader)->Read(7, out).value_or(9), 0u);
}

TEST_P(BlobStoreConformance, ListsEveryBlobInOrder) {
  std::vector<BlobName> names;
  for (const char* bytes : {"a", "b", "c", "d"}) {
    names.push_back(Put(bytes));
  }
  std::sort(names.begin(), names.end());
  EXPECT_EQ(store().List().value(), names);
}

TEST_P(BlobStoreConformance, MaterialisedFilesAreReadOnlyCopies) {
  const BlobName name = Put("weights");
  const fs::path target = directory_->path() / "release/experts/a.safetensors";
  ASSERT_TRUE(store().Materialise(name, target).ok());
  ASSERT_TRUE(store().Materialise(name, target).ok());
  EXPECT_EQ(*ReadFile(target), "weights");
  EXPECT_EQ(fs::status(target).permissions() & fs::perms::owner_write,
            fs::perms::none);
  ASSERT_TRUE(store().Delete(name).ok());
  EXPECT_EQ(*ReadFile(target), "weights");
  EXPECT_TRUE(absl::IsNotFound(store().Materialise(name, target)));
}

TEST_P(BlobStoreConformance, KnowsItsFreeSpace) {
  EXPECT_GT(store().FreeBytes().value_or(0), 0u);
}

INSTANTIATE_TEST_SUITE_P(Backends, BlobStoreConformance,
                         testing::Values(Of<DirectorySubject>("Directory"),
                                         Of<MemorySubject>("Memory")),
                         [](const testing::TestParamInfo<Backend>& info) {
                           return std::string(info.param.name);
                         });

}  // namespace
}  // namespace tributary::coordinator

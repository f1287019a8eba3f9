#include "common/safetensors/writer.h"

#include <filesystem>
#include <vector>

#include "common/base/files.h"
#include "common/safetensors/reader.h"
#include "gtest/gtest.h"

namespace tributary::safetensors {
namespace {

class WriterTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryDirectory::Create("writer");
    ASSERT_TRUE(folder.ok());
    folder_ = std::make_unique<TemporaryDirectory>(*std::move(folder));
  }
  size_t FilesInFolder() const {
    size_t count = 0;
    for ([[maybe_unused]] const auto& entry :
         std::filesystem::directory_iterator(folder_->path())) {
      ++count;
    }
    return count;
  }

  std::unique_ptr<TemporaryDirectory> folder_;
};

std::vector<std::byte> Pattern(size_t size) {
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(i * 31 + i / 251);
  }
  return bytes;
}

TEST_F(WriterTest, PiecesOfAnySizeGiveTheSameBytes) {
  const std::vector<TensorSpec> specs = {{"a", DType::kF32, {500000}},
                                         {"b", DType::kBF16, {300001}},
                                         {"c", DType::kF32, {}}};
  const std::vector<std::byte> data = Pattern(2000000 + 600002 + 4);
  std::string first;
  for (const size_t piece : {size_t{7919}, size_t{1} << 20, data.size()}) {
    const auto path = folder_->path() / std::to_string(piece);
    auto writer = Writer::Create(path, specs);
    ASSERT_TRUE(writer.ok()) << writer.status();
    for (size_t at = 0; at < data.size(); at += piece) {
      const size_t size = std::min(piece, data.size() - at);
      ASSERT_TRUE((*writer)->Append(std::span(data).subspan(at, size)).ok());
    }
    EXPECT_FALSE(std::filesystem::exists(path));
    ASSERT_TRUE((*writer)->Finish().ok());
    EXPECT_EQ(*FileSize(path), (*writer)->file_bytes());
    const std::string bytes = *ReadFile(path);
    if (first.empty()) {
      first = bytes;
    }
    EXPECT_TRUE(bytes == first);
  }
  const auto file = File::Open(folder_->path() / "7919");
  ASSERT_TRUE(file.ok()) << file.status();
  const auto b = (*file)->Bytes(*(*file)->Find("b"));
  EXPECT_TRUE(std::equal(b.begin(), b.end(), data.begin() + 2000000));
}

TEST_F(WriterTest, NothingIsLeftOfAnUnfinishedFile) {
  const auto path = folder_->path() / "t";
  {
    auto writer = Writer::Create(path, {{"a", DType::kU8, {4}}});
    ASSERT_TRUE(writer.ok());
    const auto data = Pattern(5);
    ASSERT_TRUE((*writer)->Append(std::span(data).first(3)).ok());
    EXPECT_TRUE(absl::IsFailedPrecondition((*writer)->Finish()));
    EXPECT_TRUE(
        absl::IsOutOfRange((*writer)->Append(std::span(data).first(2))));
    EXPECT_EQ(FilesInFolder(), 1u);
  }
  EXPECT_EQ(FilesInFolder(), 0u);
}

TEST_F(WriterTest, ReplacesAFileAtOnce) {
  const auto path = folder_->path() / "t";
  const auto data = Pattern(4);
  const std::vector<TensorView> views = {{{"a", DType::kU8, {4}}, data}};
  ASSERT_TRUE(WriteFileAtomic(path, "old").ok());
  ASSERT_TRUE(WriteFile(path, views).ok());
  EXPECT_TRUE(File::Open(path).ok());
  EXPECT_EQ(FilesInFolder(), 1u);
}

TEST_F(WriterTest, RefusesWrongSizesAndFolders) {
  const auto data = Pattern(4);
  EXPECT_TRUE(absl::IsInvalidArgument(
      WriteFile(folder_->path() / "t", {{{"a", DType::kF32, {2}}, data}})));
  EXPECT_TRUE(absl::IsNotFound(WriteFile(folder_->path() / "none" / "t",
                                         {{{"a", DType::kF32, {1}}, data}})));
  EXPECT_EQ(FilesInFolder(), 0u);
}

TEST_F(WriterTest, NoTensorsIsAFile) {
  const auto path = folder_->path() / "t";
  ASSERT_TRUE(WriteFile(path, {}).ok());
  const auto file = File::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->tensors().empty());
  EXPECT_EQ((*file)->Find("a"), nullptr);
}

}  // namespace
}  // namespace tributary::safetensors

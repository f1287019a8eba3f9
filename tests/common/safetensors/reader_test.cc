#include "common/safetensors/reader.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <vector>

#include "common/base/files.h"
#include "common/safetensors/float_convert.h"
#include "common/safetensors/writer.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::safetensors {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TemporaryDirectory::Create("reader");
    ASSERT_TRUE(folder.ok());
    folder_ = std::make_unique<TemporaryDirectory>(*std::move(folder));
    path_ = folder_->path() / "t.safetensors";
    const std::vector<float> values = {1.0f, -2.0f, 0.5f};
    ASSERT_TRUE(FromFloat32(values, DType::kBF16, bf16_).ok());
    ASSERT_TRUE(WriteFile(path_,
                          {{{"half", DType::kBF16, {3}}, bf16_},
                           {{"full", DType::kF32, {3}},
                            std::as_bytes(std::span(values))},
                           {{"ids", DType::kI64, {1}}, ids_}},
                          {.metadata = {{"format", "pt"}}})
                    .ok());
  }

  std::unique_ptr<TemporaryDirectory> folder_;
  std::filesystem::path path_;
  std::vector<std::byte> bf16_ = std::vector<std::byte>(6);
  std::vector<std::byte> ids_ = std::vector<std::byte>(8, std::byte{1});
};

TEST_F(ReaderTest, MapsTensors) {
  const auto file = File::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ((*file)->tensors().size(), 3u);
  EXPECT_EQ((*file)->metadata().at("format"), "pt");
  EXPECT_EQ((*file)->file_bytes(), *FileSize(path_));
  const TensorInfo* half = (*file)->Find("half");
  ASSERT_NE(half, nullptr);
  const auto bytes = (*file)->Bytes(*half);
  ASSERT_EQ(bytes.size(), 6u);
  EXPECT_EQ(std::memcmp(bytes.data(), bf16_.data(), 6), 0);
  EXPECT_THAT(*(*file)->ReadFloats("half"), ElementsAre(1.0f, -2.0f, 0.5f));
  EXPECT_THAT(*(*file)->ReadFloats("full"), ElementsAre(1.0f, -2.0f, 0.5f));
  EXPECT_TRUE(absl::IsNotFound((*file)->ReadFloats("none").status()));
  EXPECT_TRUE(absl::IsInvalidArgument((*file)->ReadFloats("ids").status()));
}

TEST_F(ReaderTest, ReadsRanges) {
  const auto file = File::Open(path_);
  ASSERT_TRUE(file.ok());
  const TensorInfo& full = *(*file)->Find("full");
  std::vector<float> values(2);
  ASSERT_TRUE(
      (*file)->Read(full, 4, std::as_writable_bytes(std::span(values))).ok());
  EXPECT_THAT(values, ElementsAre(-2.0f, 0.5f));
  EXPECT_TRUE(absl::IsOutOfRange(
      (*file)->Read(full, 8, std::as_writable_bytes(std::span(values)))));
  EXPECT_TRUE(absl::IsOutOfRange(
      (*file)->Read(full, ~0ull, std::as_writable_bytes(std::span(values)))));
}

TEST_F(ReaderTest, ConvertsPartsOfALongTensor) {
  constexpr size_t kElements = (size_t{5} << 19) + 77;
  std::vector<float> values(kElements);
  for (size_t i = 0; i < kElements; ++i) {
    values[i] = Bf16ToFloat(static_cast<uint16_t>(i * 40'503 % 30'000));
  }
  std::vector<std::byte> stored(2 * kElements);
  ASSERT_TRUE(FromFloat32(values, DType::kBF16, stored).ok());
  ASSERT_TRUE(
      WriteFile(
          path_,
          {{{"ids", DType::kI64, {1}}, ids_},
           {{"long", DType::kBF16, {static_cast<int64_t>(kElements)}}, stored}})
          .ok());
  const auto file = File::Open(path_);
  ASSERT_TRUE(file.ok()) << file.status();
  const TensorInfo& tensor = *(*file)->Find("long");
  for (const size_t first : {0, 1, 37}) {
    // The result begins at several places of a line.
    std::vector<float> got(kElements, -1);
    const std::span<float> out = std::span(got).subspan(first);
    ASSERT_TRUE((*file)->ToFloats(tensor, first, out).ok());
    EXPECT_TRUE(std::equal(out.begin(), out.end(), values.begin() + first));
  }
  std::vector<float> got(2);
  EXPECT_TRUE(
      absl::IsOutOfRange((*file)->ToFloats(tensor, kElements - 1, got)));
  EXPECT_TRUE(absl::IsOutOfRange((*file)->ToFloats(tensor, ~0ull, got)));
  EXPECT_TRUE(absl::IsInvalidArgument(
      (*file)->ToFloats(*(*file)->Find("ids"), 0, std::span(got).first(1))));
}

TEST_F(ReaderTest, ACutAfterOpeningIsAnErrorForRead) {
  const auto file = File::Open(path_);
  ASSERT_TRUE(file.ok());
  std::filesystem::resize_file(path_, (*file)->file_bytes() - 1);
  std::vector<std::byte> bytes(8);
  EXPECT_TRUE(absl::IsDataLoss((*file)->Read(*(*file)->Find("ids"), 0, bytes)));
}

TEST_F(ReaderTest, FaultsNameTheFile) {
  std::filesystem::resize_file(path_, *FileSize(path_) - 1);
  const auto cut = File::Open(path_);
  EXPECT_EQ(FaultOf(cut.status()), Fault::kDataPastEnd);
  EXPECT_THAT(std::string(cut.status().message()), HasSubstr(path_.string()));
  std::filesystem::resize_file(path_, 0);
  EXPECT_EQ(FaultOf(File::Open(path_).status()), Fault::kTooShort);
}

TEST_F(ReaderTest, NoFileAndNoRegularFile) {
  EXPECT_TRUE(absl::IsNotFound(File::Open(folder_->path() / "other").status()));
  EXPECT_TRUE(absl::IsInvalidArgument(File::Open(folder_->path()).status()));
}

}  // namespace
}  // namespace tributary::safetensors

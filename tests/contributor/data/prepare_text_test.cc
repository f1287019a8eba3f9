#include "contributor/data/prepare_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "common/base/files.h"
#include "common/text/document_reader.h"
#include "common/tokenizer/tokenizer.h"
#include "tests/contributor/data/token_files.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kFixtures = fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures";

class PrepareTextTest : public ::testing::Test {
 protected:
  PrepareTextOptions Options() const {
    return {.tokenizer_path = kFixtures / "tiny_anchor/tokenizer.json",
            .train_paths = {kFixtures / "text/domain_a.jsonl"},
            .window_tokens = 32};
  }

  // All windows that documents of a file can have.
  Rows AllWindows(const fs::path& path, size_t length) const {
    const auto tokenizer =
        tokenizer::Tokenizer::Load(kFixtures / "tiny_anchor/tokenizer.json");
    Rows rows;
    const auto reader = text::DocumentReader::Create({path});
    text::Document document;
    while (*(*reader)->Next(&document)) {
      const auto ids = (*tokenizer)->Encode(document.text);
      for (size_t at = 0; at + length <= ids->size(); at += length) {
        rows.emplace_back(ids->begin() + at, ids->begin() + at + length);
      }
    }
    return rows;
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("prepare");
  fs::path output_ = folder_.path() / "tokens.safetensors";
};

TEST_F(PrepareTextTest, WindowsAreRealTokensOfOneDocument) {
  const auto result = PrepareText(Options(), output_);
  ASSERT_TRUE(result.ok()) << result.status();
  Rows made = ReadRows(output_, "train");
  const Rows heldout = ReadRows(output_, "heldout");
  EXPECT_EQ(result->train_tokens, static_cast<int64_t>(made.size()) * 32);
  EXPECT_EQ(result->heldout_tokens, static_cast<int64_t>(heldout.size()) * 32);
  EXPECT_EQ(result->train_documents + result->heldout_documents, 24);
  EXPECT_GE(result->heldout_documents, 1);
  EXPECT_EQ(result->skipped_documents, 0);
  EXPECT_EQ(result->digest.size(), 64u);
  made.insert(made.end(), heldout.begin(), heldout.end());
  Rows all = AllWindows(kFixtures / "text/domain_a.jsonl", 32);
  EXPECT_THAT(made, ::testing::UnorderedElementsAreArray(all));
}

TEST_F(PrepareTextTest, FirstWindowsOfAllDocumentsComeFirst) {
  PrepareTextOptions options = Options();
  options.heldout_paths = {kFixtures / "text/domain_a_heldout.jsonl"};
  options.max_train_windows = 24;
  options.max_heldout_windows = 3;
  const auto result = PrepareText(options, output_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->train_documents, 24);
  EXPECT_EQ(result->heldout_documents, 3);
  EXPECT_EQ(ReadRows(output_, "train").size(), 24u);
  options.max_train_windows = 0;
  options.max_windows_per_document = 2;
  const auto twice = PrepareText(options, output_);
  EXPECT_EQ(twice->train_tokens, 48 * 32);
}

TEST_F(PrepareTextTest, OrderOfFilesAndDuplicatesChangeNothing) {
  std::string text = *ReadFile(kFixtures / "text/domain_a.jsonl");
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    lines.insert(lines.begin(), text.substr(at, end - at));
    at = end + 1;
  }
  std::string reversed;
  for (const std::string& line : lines) {
    reversed += line + "\n";
  }
  const fs::path copy = folder_.path() / "copy.jsonl";
  ASSERT_TRUE(WriteFileAtomic(copy, reversed).ok());
  const auto first = PrepareText(Options(), output_);
  PrepareTextOptions options = Options();
  options.train_paths = {copy, kFixtures / "text/domain_a.jsonl"};
  const auto second = PrepareText(options, folder_.path() / "b.safetensors");
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(first->digest, second->digest);
  EXPECT_EQ(second->train_documents, first->train_documents);
}

TEST_F(PrepareTextTest, HeldOutDocumentsAreNotTrainedOn) {
  PrepareTextOptions options = Options();
  options.heldout_paths = options.train_paths;
  options.train_paths.push_back(kFixtures / "text/domain_b.jsonl");
  const auto result = PrepareText(options, output_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->train_documents, 24);
  const Rows train = ReadRows(output_, "train");
  EXPECT_THAT(train, ::testing::UnorderedElementsAreArray(
                         AllWindows(kFixtures / "text/domain_b.jsonl", 32)));
}

TEST_F(PrepareTextTest, SplitIsStableWhenDocumentsAreAdded) {
  ASSERT_TRUE(PrepareText(Options(), output_).ok());
  const Rows before = ReadRows(output_, "heldout");
  PrepareTextOptions options = Options();
  options.train_paths.push_back(kFixtures / "text/domain_c.jsonl");
  ASSERT_TRUE(PrepareText(options, output_).ok());
  const Rows train = ReadRows(output_, "train");
  const std::set<std::vector<int32_t>> trained(train.begin(), train.end());
  for (const auto& row : before) {
    EXPECT_FALSE(trained.contains(row));
  }
}

TEST_F(PrepareTextTest, RefusesSmallCorporaWithNumbers) {
  PrepareTextOptions options = Options();
  options.min_documents = 30;
  options.min_tokens = 1000;
  auto status = PrepareText(options, output_).status();
  ASSERT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.message(),
              HasSubstr("at least 1000 tokens of 30 documents"));
  options = Options();
  options.min_tokens = 1'000'000;
  EXPECT_TRUE(
      absl::IsFailedPrecondition(PrepareText(options, output_).status()));
  options = Options();
  options.window_tokens = 4096;
  status = PrepareText(options, output_).status();
  ASSERT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.message(), HasSubstr("no document has 4096 tokens"));
  EXPECT_FALSE(fs::exists(output_));
}

TEST_F(PrepareTextTest, RefusesMissingTokenizerAndEmptyPaths) {
  PrepareTextOptions options = Options();
  options.tokenizer_path = "/nowhere/tokenizer.json";
  EXPECT_TRUE(absl::IsNotFound(PrepareText(options, output_).status()));
  options = Options();
  options.train_paths.clear();
  EXPECT_TRUE(absl::IsInvalidArgument(PrepareText(options, output_).status()));
}

}  // namespace
}  // namespace tributary::contributor

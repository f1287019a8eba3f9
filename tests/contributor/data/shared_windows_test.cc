#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "common/base/files.h"
#include "common/text/document_reader.h"
#include "common/tokenizer/tokenizer.h"
#include "contributor/data/prepare_text.h"
#include "tests/contributor/data/token_files.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;

const fs::path kFixtures = fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures";
constexpr int64_t kWindow = 48;

class SharedWindowsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string lines;
    for (int i = 0; i < 200; ++i) {
      std::string text;
      // Lengths from a few tokens to several windows.
      for (int word = 0; word < 3 + i * i % 101; ++word) {
        text += "w" + std::to_string(i * 1000 + word) + " ";
      }
      lines += "{\"text\":\"" + text + "\"}\n";
    }
    corpus_ = folder_.path() / "corpus.jsonl";
    ASSERT_TRUE(WriteFileAtomic(corpus_, lines).ok());
    const auto tokenizer =
        tokenizer::Tokenizer::Load(kFixtures / "tiny_anchor/tokenizer.json");
    const auto reader = text::DocumentReader::Create({corpus_});
    text::Document document;
    while (*(*reader)->Next(&document)) {
      documents_.push_back(*(*tokenizer)->Encode(document.text));
    }
  }

  PrepareTextOptions Options() const {
    return {.tokenizer_path = kFixtures / "tiny_anchor/tokenizer.json",
            .train_paths = {corpus_},
            .window_tokens = kWindow,
            .packing = PrepareTextOptions::Packing::kShared};
  }

  // The stretches of one document that windows consist of.
  static Rows Pieces(const Rows& ids, const Rows& owners) {
    Rows pieces;
    for (size_t row = 0; row < ids.size(); ++row) {
      EXPECT_EQ(owners[row][0], 0);
      for (size_t i = 0; i < ids[row].size(); ++i) {
        if (i == 0 || owners[row][i] != owners[row][i - 1]) {
          EXPECT_EQ(owners[row][i], i == 0 ? 0 : owners[row][i - 1] + 1);
          pieces.emplace_back();
        }
        pieces.back().push_back(ids[row][i]);
      }
    }
    return pieces;
  }

  bool IsPartOfADocument(const std::vector<int32_t>& piece) const {
    return std::any_of(
        documents_.begin(), documents_.end(), [&](const auto& document) {
          return std::search(document.begin(), document.end(), piece.begin(),
                             piece.end()) != document.end();
        });
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("shared");
  fs::path corpus_;
  fs::path output_ = folder_.path() / "tokens.safetensors";
  Rows documents_;
};

TEST_F(SharedWindowsTest, EveryTokenIsInOneWindowWithItsDocument) {
  const auto result = PrepareText(Options(), output_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->skipped_documents, 0);
  EXPECT_EQ(result->train_documents + result->heldout_documents, 200);
  std::multiset<int32_t> windowed;
  for (const char* side : {"train", "heldout"}) {
    const Rows ids = ReadRows(output_, side);
    const Rows owners = ReadRows(output_, std::string(side) + "_documents");
    ASSERT_EQ(ids.size(), owners.size());
    for (const auto& piece : Pieces(ids, owners)) {
      EXPECT_TRUE(IsPartOfADocument(piece));
    }
    for (const auto& row : ids) {
      windowed.insert(row.begin(), row.end());
    }
  }
  // All but the rests of less than a window are there.
  size_t tokens = 0;
  for (const auto& document : documents_) {
    tokens += document.size();
  }
  EXPECT_LE(windowed.size(), tokens);
  EXPECT_GT(windowed.size() + 2 * kWindow, tokens);
  std::multiset<int32_t> all;
  for (const auto& document : documents_) {
    all.insert(document.begin(), document.end());
  }
  EXPECT_TRUE(
      std::includes(all.begin(), all.end(), windowed.begin(), windowed.end()));
}

TEST_F(SharedWindowsTest, FewWindowsComeFromManyDocuments) {
  PrepareTextOptions options = Options();
  options.max_train_windows = 20;
  options.max_heldout_windows = 2;
  const auto result = PrepareText(options, output_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->train_tokens, 20 * kWindow);
  EXPECT_EQ(result->heldout_tokens, 2 * kWindow);
  EXPECT_GE(result->train_documents, 20);
  // The beginning of what there is without a limit.
  const Rows few = ReadRows(output_, "train");
  ASSERT_TRUE(PrepareText(Options(), output_).ok());
  Rows all = ReadRows(output_, "train");
  all.resize(20);
  EXPECT_EQ(few, all);
}

TEST_F(SharedWindowsTest, WithoutSharingThereAreNoOwners) {
  PrepareTextOptions options = Options();
  options.packing = PrepareTextOptions::Packing::kNone;
  ASSERT_TRUE(PrepareText(options, output_).ok());
  const auto file = safetensors::File::Open(output_);
  EXPECT_EQ((*file)->tensors().size(), 2u);
}

}  // namespace
}  // namespace tributary::contributor

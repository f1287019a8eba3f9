#include "contributor/data/token_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "common/crypto/digest.h"
#include "contributor/data/prepare_text.h"
#include "tests/contributor/data/token_files.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;

const fs::path kFixtures = fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures";

std::string Digest(const std::string& text) {
  crypto::Sha256 hash;
  hash.Update(text);
  return hash.Bytes();
}

class TokenCacheTest : public ::testing::Test {
 protected:
  // A corpus of `count` documents, of which number `changed` is different.
  PrepareTextOptions Options(int count = 60, int changed = -1) {
    std::string lines;
    for (int i = 0; i < count; ++i) {
      std::string text;
      for (int word = 0; word < 40; ++word) {
        text += "w" + std::to_string(i * 1000 + word + (i == changed)) + " ";
      }
      lines += "{\"text\":\"" + text + "\"}\n";
    }
    const fs::path corpus = folder_.path() / "corpus.jsonl";
    EXPECT_TRUE(WriteFileAtomic(corpus, lines).ok());
    return {.tokenizer_path = kFixtures / "tiny_anchor/tokenizer.json",
            .train_paths = {corpus},
            .window_tokens = 32,
            .cache_directory = cache_};
  }
  fs::path StoreFile() const {
    for (const auto& entry : fs::directory_iterator(cache_)) {
      if (entry.path().extension() == ".tokens") {
        return entry.path();
      }
    }
    return {};
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("cache");
  fs::path cache_ = folder_.path() / "tokens";
  fs::path output_ = folder_.path() / "tokens.safetensors";
};

TEST_F(TokenCacheTest, UnchangedDocumentsAreNotTokenisedAgain) {
  const auto first = PrepareText(Options(), output_);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ(first->tokenised_documents, 60);
  EXPECT_EQ(first->cached_documents, 0);
  const auto second = PrepareText(Options(), output_);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->tokenised_documents, 0);
  EXPECT_EQ(second->cached_documents, 60);
  EXPECT_EQ(second->digest, first->digest);
  const auto changed = PrepareText(Options(60, 7), output_);
  EXPECT_EQ(changed->tokenised_documents, 1);
  EXPECT_NE(changed->digest, first->digest);
  // The same as without a cache; and only the result is left behind.
  PrepareTextOptions options = Options();
  options.cache_directory.clear();
  const fs::path other = folder_.path() / "other/tokens.safetensors";
  ASSERT_TRUE(MakeDirectories(other.parent_path()).ok());
  EXPECT_EQ(PrepareText(options, other)->digest, first->digest);
  EXPECT_EQ(std::distance(fs::directory_iterator(other.parent_path()), {}), 1);
  EXPECT_EQ(fs::status(cache_).permissions(), fs::perms::owner_all);
}

TEST_F(TokenCacheTest, AnotherTokenizerMeansAnotherFile) {
  const auto first = PrepareText(Options(), output_);
  std::string json = *ReadFile(kFixtures / "tiny_anchor/tokenizer.json");
  PrepareTextOptions options = Options();
  options.tokenizer_path = folder_.path() / "tokenizer.json";
  ASSERT_TRUE(WriteFileAtomic(options.tokenizer_path, json + "\n").ok());
  const auto second = PrepareText(options, output_);
  EXPECT_EQ(second->tokenised_documents, 60);
  EXPECT_EQ(second->digest, first->digest);
}

TEST_F(TokenCacheTest, DamagedEntriesAndFilesAreMadeAgain) {
  const auto first = PrepareText(Options(), output_);
  ASSERT_TRUE(first.ok());
  const std::string whole = *ReadFile(StoreFile());
  // Every 37th page of 4 KiB in turn, then cut and replaced files.
  for (size_t at = 200; at < whole.size(); at += 4096 * 3) {
    std::string damaged = whole;
    for (size_t i = at; i < std::min(at + 16, whole.size()); ++i) {
      damaged[i] = static_cast<char>(damaged[i] ^ 0x5a);
    }
    ASSERT_TRUE(WriteFileAtomic(StoreFile(), damaged).ok());
    const auto again = PrepareText(Options(), output_);
    ASSERT_TRUE(again.ok()) << at << again.status();
    EXPECT_EQ(again->digest, first->digest) << at;
  }
  for (const std::string& content :
       {whole.substr(0, whole.size() / 2), std::string("nothing of ours"),
        std::string()}) {
    ASSERT_TRUE(WriteFileAtomic(StoreFile(), content).ok());
    const auto again = PrepareText(Options(), output_);
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(again->digest, first->digest);
  }
}

TEST_F(TokenCacheTest, EntriesAreCheckedByDigest) {
  const fs::path path = folder_.path() / "store";
  const std::vector<int32_t> ids(1000, 0x01020304);
  {
    auto store = TokenStore::Open(path);
    ASSERT_TRUE((*store)->Insert(Digest("a"), ids).ok());
    ASSERT_TRUE((*store)->Insert(Digest("b"), {}).ok());
    ASSERT_TRUE((*store)->Commit().ok());
  }
  {
    auto store = TokenStore::Open(path);
    EXPECT_EQ(*(*store)->Find(Digest("a")), ids);
    EXPECT_EQ((*store)->Find(Digest("b"))->value().size(), 0u);
    EXPECT_FALSE((*store)->Find(Digest("c"))->has_value());
  }
  std::string bytes = *ReadFile(path);
  const size_t at = bytes.find(std::string("\x04\x03\x02\x01\x04", 5));
  ASSERT_NE(at, std::string::npos);
  bytes[at + 100] ^= 1;
  ASSERT_TRUE(WriteFileAtomic(path, bytes).ok());
  auto store = TokenStore::Open(path);
  EXPECT_FALSE((*store)->Find(Digest("a"))->has_value());
  EXPECT_EQ((*store)->damaged_entries(), 1);
}

TEST_F(TokenCacheTest, PruningKeepsWhatWasUsedLast) {
  const fs::path path = folder_.path() / "store";
  const std::vector<int32_t> ids(1000, 7);
  for (const char* name : {"a", "b", "c", "a"}) {  // one run each
    auto store = TokenStore::Open(path);
    if (!(*store)->Find(Digest(name))->has_value()) {
      ASSERT_TRUE((*store)->Insert(Digest(name), ids).ok());
    }
    ASSERT_TRUE((*store)->Prune(1 << 20).ok());
  }
  const auto before = *FileSize(path);
  auto store = TokenStore::Open(path);
  ASSERT_TRUE((*store)->Prune(8000).ok());
  EXPECT_TRUE((*store)->Find(Digest("a"))->has_value());
  EXPECT_FALSE((*store)->Find(Digest("b"))->has_value());
  EXPECT_TRUE((*store)->Find(Digest("c"))->has_value());
  EXPECT_LT(*FileSize(path), before);
}

TEST_F(TokenCacheTest, TheFolderIsBounded) {
  PrepareTextOptions options = Options(400);
  options.max_cache_bytes = 40'000;
  ASSERT_TRUE(MakeDirectories(cache_).ok());
  std::ofstream(cache_ / "old.tokens") << std::string(100'000, 'x');
  const auto first = PrepareText(options, output_);
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_FALSE(fs::exists(cache_ / "old.tokens"));
  EXPECT_LT(*FileSize(StoreFile()), 200'000u);
  const auto second = PrepareText(options, output_);
  EXPECT_GT(second->cached_documents, 10);
  EXPECT_GT(second->tokenised_documents, 100);
  EXPECT_EQ(second->digest, first->digest);
}

TEST_F(TokenCacheTest, ASecondProcessDoesWithoutIt) {
  const auto first = PrepareText(Options(), output_);
  const auto lock = FileLock::TryAcquire(cache_ / "lock");
  ASSERT_TRUE(lock.ok());
  const auto second = PrepareText(Options(), output_);
  ASSERT_TRUE(second.ok()) << second.status();
  EXPECT_EQ(second->tokenised_documents, 60);
  EXPECT_EQ(second->digest, first->digest);
}

}  // namespace
}  // namespace tributary::contributor

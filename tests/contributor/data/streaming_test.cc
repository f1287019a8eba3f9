// What holds for corpora of any size: the result is a function of the
// documents, memory does not grow with them, and being killed changes nothing.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "common/base/files.h"
#include "contributor/data/prepare_text.h"
#include "tests/contributor/data/token_files.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// Sanitizers keep freed memory for a while, so that growth is no measure, and
// they take ten times as long: a tenth of the corpus is enough for them.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int64_t kGrowthKib = 512 << 10;
constexpr int kScale = 10;
#else
constexpr int64_t kGrowthKib = 8 << 10;
constexpr int kScale = 1;
#endif

const fs::path kFixtures = fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures";

class StreamingTest : public ::testing::Test {
 protected:
  // `count` documents of about 8 KiB; numbers from `first` on make them differ.
  fs::path WriteCorpus(const std::string& name, int count, int first = 0) {
    const fs::path path = folder_.path() / name;
    std::ofstream out(path, std::ios::binary);
    for (int i = first; i < first + count; ++i) {
      out << "{\"text\":\"";
      for (int word = 0; word < 800; ++word) {
        out << "word" << (i * 7919 + word * 31) % 100'003 << ' ';
      }
      out << "\"}\n";
    }
    return path;
  }

  PrepareTextOptions Options(std::vector<fs::path> paths) const {
    return {.tokenizer_path = kFixtures / "tiny_anchor/tokenizer.json",
            .train_paths = std::move(paths),
            .window_tokens = 64};
  }

  // Peak memory in KiB of a process of its own that does this.
  int64_t PeakOf(const PrepareTextOptions& options) {
    const pid_t child = fork();
    if (child == 0) {
      const auto result =
          PrepareText(options, folder_.path() / "child.safetensors");
      _exit(result.ok() ? 0 : 1);
    }
    int state = 0;
    rusage usage = {};
    EXPECT_EQ(wait4(child, &state, 0, &usage), child);
    EXPECT_EQ(state, 0);
    return usage.ru_maxrss;
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("streaming");
  fs::path output_ = folder_.path() / "tokens.safetensors";
};

TEST_F(StreamingTest, ThreadsFilesAndOrderChangeNothing) {
  const auto a = WriteCorpus("a.jsonl", 1500);
  const auto b = WriteCorpus("b.jsonl", 700, 1000);  // 500 of them are in a
  for (const int64_t limit : {0, 50}) {
    PrepareTextOptions options = Options({a, b});
    options.max_train_windows = options.max_heldout_windows = limit;
    const auto one = PrepareText(options, output_);
    ASSERT_TRUE(one.ok()) << one.status();
    options.train_paths = {b, a};
    options.threads = 4;
    const auto four = PrepareText(options, output_);
    ASSERT_TRUE(four.ok()) << four.status();
    EXPECT_EQ(one->digest, four->digest);
    EXPECT_EQ(one->skipped_documents, four->skipped_documents);
    EXPECT_EQ(one->train_documents, four->train_documents);
    if (limit == 0) {
      EXPECT_EQ(one->train_documents + one->heldout_documents, 1700);
      EXPECT_EQ(one->tokenised_documents, 1700);
    } else {
      EXPECT_LT(one->tokenised_documents, 1700);
    }
  }
}

TEST_F(StreamingTest, MemoryDoesNotGrowWithTheCorpus) {
  const auto small = WriteCorpus("small.jsonl", 1500 / kScale);  // 12 MB
  const auto large = WriteCorpus("large.jsonl", 15000 / kScale, 1500);
  EXPECT_GT(*FileSize(large), 110'000'000u / kScale);
  const int64_t first = PeakOf(Options({small}));
  const int64_t second = PeakOf(Options({large}));
  EXPECT_LT(second - first, kGrowthKib)
      << "KiB for a corpus of ten times the size, after " << first;
}

TEST_F(StreamingTest, KilledAndStartedAgainGivesTheSameBytes) {
  const auto corpus = WriteCorpus("a.jsonl", 3000);
  PrepareTextOptions options = Options({corpus});
  const auto whole = PrepareText(options, output_);
  ASSERT_TRUE(whole.ok()) << whole.status();
  const fs::path output = folder_.path() / "again.safetensors";
  options.cache_directory = folder_.path() / "cache";
  for (const double fraction : {0.3, 0.7}) {
    options.report = [fraction](double done) {
      if (done >= fraction) {
        raise(SIGKILL);
      }
      return absl::OkStatus();
    };
    const pid_t child = fork();
    if (child == 0) {
      _exit(PrepareText(options, output).ok() ? 0 : 1);
    }
    int state = 0;
    ASSERT_EQ(waitpid(child, &state, 0), child);
    ASSERT_TRUE(WIFSIGNALED(state));
    EXPECT_FALSE(fs::exists(output));
  }
  options.report = nullptr;
  const auto again = PrepareText(options, output);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->digest, whole->digest);
  EXPECT_GT(again->cached_documents, 1500);
  EXPECT_EQ(again->cached_documents + again->tokenised_documents, 3000);
}

TEST_F(StreamingTest, OneEnormousDocumentIsReadInParts) {
  const fs::path path = folder_.path() / "book.txt";
  std::ofstream out(path, std::ios::binary);
  for (int line = 0; line < 20'000; ++line) {
    out << "line " << line << " of a document without an end\n";
  }
  out.close();
  PrepareTextOptions options = Options({path});
  options.max_document_bytes = 50'000;
  const auto result = PrepareText(options, output_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->cut_documents, 1);
  EXPECT_GT(result->tokenised_documents, 10);
  EXPECT_EQ(result->train_documents, 1);
  EXPECT_EQ(result->heldout_documents, 1);
  EXPECT_GT(result->train_tokens, result->heldout_tokens);
  options.min_documents = 2;
  const auto status = PrepareText(options, output_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(status.message(), HasSubstr("at least 0 tokens of 2 documents"));
}

TEST_F(StreamingTest, PartsOfADocumentStayOnOneSide) {
  // A split by parts would hold out about an eighth of each.
  for (int file = 0; file < 2; ++file) {
    std::ofstream out(folder_.path() / (std::to_string(file) + ".txt"));
    for (int line = 0; line < 5000; ++line) {
      out << "line " << line << " of file " << file << '\n';
    }
  }
  PrepareTextOptions options =
      Options({folder_.path() / "0.txt", folder_.path() / "1.txt"});
  options.max_document_bytes = 9'000;
  const auto result = PrepareText(options, output_);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->cut_documents, 2);
  // Both are on one side, so that the balance moves a single part.
  const int64_t few = std::min(result->train_tokens, result->heldout_tokens);
  EXPECT_LE(few, 9'000);
  EXPECT_GT(result->train_tokens + result->heldout_tokens, 40'000);
}

TEST_F(StreamingTest, ReportEndsTheRun) {
  PrepareTextOptions options = Options({WriteCorpus("a.jsonl", 2500)});
  options.report = [](double) { return Cancelled("enough"); };
  EXPECT_TRUE(absl::IsCancelled(PrepareText(options, output_).status()));
  EXPECT_FALSE(fs::exists(output_));
}

TEST_F(StreamingTest, RefusesEmptyText) {
  const fs::path path = folder_.path() / "empty.txt";
  ASSERT_TRUE(WriteFileAtomic(path, "").ok());
  const auto status = PrepareText(Options({path}), output_).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status));
  EXPECT_THAT(status.message(), HasSubstr("empty.txt: got no document"));
}

}  // namespace
}  // namespace tributary::contributor

// Documents, lines and expansions that do not end: read in bounded memory, or
// refused.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <fstream>

#include "common/base/files.h"
#include "common/text/document_reader.h"
#include "tests/common/text/packed_text.h"

namespace tributary::text {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// Sanitizers keep freed memory for a while.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int64_t kGrowthKib = 512 << 10;
#else
constexpr int64_t kGrowthKib = 4 << 10;
#endif

int64_t PeakMemoryKib() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

class LongTextTest : public ::testing::Test {
 protected:
  fs::path Write(const std::string& name, const std::string& content,
                 int times = 1) {
    const fs::path path = folder_.path() / name;
    std::ofstream out(path, std::ios::binary);
    for (int i = 0; i < times; ++i) {
      out << content;
    }
    return path;
  }

  struct Reading {
    std::string text;  // all parts together
    std::vector<int64_t> parts;
    size_t longest = 0;
    ReadSummary summary;
  };
  StatusOr<Reading> Read(const fs::path& path, const DocumentOptions& options,
                         bool keep = true) {
    ASSIGN_OR_RETURN(const auto reader,
                     DocumentReader::Create({path}, options));
    Reading reading;
    Document document;
    while (true) {
      ASSIGN_OR_RETURN(const bool more, reader->Next(&document));
      if (!more) {
        reading.summary = reader->summary();
        return reading;
      }
      if (keep) {
        reading.text += document.text;
      }
      reading.parts.push_back(document.part);
      reading.longest = std::max(reading.longest, document.text.size());
    }
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("long");
};

TEST_F(LongTextTest, LongDocumentsComeInParts) {
  std::string lines;
  for (int i = 0; lines.size() < 1000; ++i) {
    lines += "line " + std::to_string(i) + "\n";
  }
  lines += "end";
  std::string words;
  while (words.size() < 1000) {
    words += "some words ";
  }
  words.pop_back();
  std::string solid;
  while (solid.size() < 1000) {
    solid += "\xe6\x9d\xb1";  // three bytes
  }
  for (const std::string& text : {lines, words, solid}) {
    const auto plain = Read(Write("a.txt", text), {.max_document_bytes = 100});
    ASSERT_TRUE(plain.ok()) << plain.status();
    EXPECT_EQ(plain->text, text);
    EXPECT_LE(plain->longest, 100u);
    EXPECT_GE(plain->parts.size(), 10u);
    for (size_t i = 0; i < plain->parts.size(); ++i) {
      EXPECT_EQ(plain->parts[i], static_cast<int64_t>(i));
    }
    EXPECT_EQ(plain->summary.documents, 1);
    EXPECT_EQ(plain->summary.cut_documents, 1);
    EXPECT_EQ(plain->summary.text_bytes, static_cast<int64_t>(text.size()));
    std::string json = "{\"text\":\"";
    for (const char c : text) {
      json += c == '\n' ? std::string("\\n") : std::string(1, c);
    }
    const auto line =
        Read(Write("a.jsonl", "{\"text\":\"short\"}\n" + json + "\"}\n" +
                                  "{\"text\":\"short\"}\n"),
             {.max_document_bytes = 100});
    ASSERT_TRUE(line.ok()) << line.status();
    EXPECT_EQ(line->text, "short" + text + "short");
    EXPECT_EQ(line->summary.documents, 3);
    EXPECT_EQ(line->summary.cut_documents, 1);
    EXPECT_EQ(line->parts.back(), 0);
  }
}

TEST_F(LongTextTest, RefusesEnormousJsonLines) {
  const auto status =
      Read(Write("a.jsonl", "{\"text\":\"" + std::string(5000, 'x') + "\"}"),
           {.max_document_bytes = 100, .max_line_bytes = 4000})
          .status();
  ASSERT_TRUE(absl::IsInvalidArgument(status));
  EXPECT_THAT(status.message(), HasSubstr("line 1 is longer than 3.9 KiB"));
}

TEST_F(LongTextTest, RefusesDecompressionBombs) {
  const std::string zeros(4 << 20, ' ');
  for (const auto& [name, content] :
       {std::pair{"bomb.txt.gz", Gzip(zeros)}, {"bomb.txt.zst", Zstd(zeros)}}) {
    const fs::path path = Write(name, content);
    const auto status =
        Read(path, {.expansion = {.max_ratio = 100, .free_bytes = 1 << 20}})
            .status();
    EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
    EXPECT_THAT(status.message(), HasSubstr(name));
    // Short content is fine at any ratio.
    EXPECT_TRUE(absl::IsFailedPrecondition(Read(path, {}).status()));
  }
}

TEST_F(LongTextTest, MemoryDoesNotGrowWithTheFile) {
  std::string block;
  while (block.size() < (1 << 20)) {
    block += "a line of text of an ordinary length, and another half of it\n";
  }
  const std::string solid(1 << 20, 'x');
  // Warm up: buffers reach their size.
  ASSERT_TRUE(Read(Write("a.txt", block, 12), {}, false).ok());
  ASSERT_TRUE(Read(Write("b.txt", solid, 12), {}, false).ok());
  const int64_t before = PeakMemoryKib();
  const auto lines = Read(Write("a.txt", block, 60), {}, false);
  const auto one_line = Read(Write("b.txt", solid, 60), {}, false);
  ASSERT_TRUE(lines.ok() && one_line.ok());
  EXPECT_EQ(lines->summary.text_bytes,
            static_cast<int64_t>(block.size() * 60 - 1));
  EXPECT_EQ(one_line->summary.text_bytes,
            static_cast<int64_t>(solid.size() * 60));
  EXPECT_LT(PeakMemoryKib() - before, kGrowthKib);
}

}  // namespace
}  // namespace tributary::text

#include "common/text/document_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/base/files.h"
#include "tests/common/text/packed_text.h"

namespace tributary::text {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class DocumentReaderTest : public ::testing::Test {
 protected:
  fs::path Write(const std::string& name, const std::string& content) {
    const fs::path path = folder_.path() / name;
    EXPECT_TRUE(MakeDirectories(path.parent_path()).ok());
    EXPECT_TRUE(WriteFileAtomic(path, content).ok());
    return path;
  }

  StatusOr<std::vector<std::string>> Read(const std::vector<fs::path>& paths,
                                          const DocumentOptions& options = {}) {
    ASSIGN_OR_RETURN(const auto reader, DocumentReader::Create(paths, options));
    std::vector<std::string> documents;
    Document document;
    while (true) {
      ASSIGN_OR_RETURN(const bool more, reader->Next(&document));
      if (!more) {
        EXPECT_EQ(reader->fraction(), 1.0);
        return documents;
      }
      documents.emplace_back(document.text);
    }
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("documents");
};

TEST_F(DocumentReaderTest, SingleTextFileIsSplitAtBlankLines) {
  const auto path = Write("a.txt", "\n one\n  two\r\n\n \t\nthree\n\n\n\nfour");
  const auto documents = Read({path});
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_THAT(*documents, ElementsAre(" one\n  two\r", "three", "four"));
}

TEST_F(DocumentReaderTest, OneDocumentPerFileInSortedOrder) {
  Write("d/b.txt", "second\n\nstill");
  Write("d/a/z.txt", "first");
  Write("d/c.jsonl", "{\"text\": \"third\"}\n\n{\"text\": \"fourth\"}");
  Write("d/blank.txt", " \n ");
  Write("d/empty.jsonl", "");
  Write("d/.hidden.txt", "no");
  Write("d/readme.md", "no");
  fs::create_symlink(folder_.path() / "d/b.txt", folder_.path() / "d/e.txt");
  const auto documents = Read({folder_.path() / "d"});
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_THAT(*documents,
              ElementsAre("first", "second\n\nstill", "third", "fourth"));
}

TEST_F(DocumentReaderTest, ReadsCompressedFiles) {
  std::string text;
  for (int i = 0; i < 100000; ++i) {
    text += std::to_string(i * 7919 % 10007) + " ";
  }
  const auto gzip = Write("a.txt.gz", Gzip(text) + Gzip("tail"));
  const auto zstd = Write(
      "b.jsonl.zst", Zstd("{\"body\":\"x\"}\n") + Zstd("{\"body\":\"y\"}"));
  const auto documents = Read({gzip, zstd}, {.text_field = "body"});
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_THAT(*documents, ElementsAre(text + "tail", "x", "y"));
}

TEST_F(DocumentReaderTest, RefusesDamagedCompression) {
  std::string text;
  for (int i = 0; i < 30000; ++i) {
    text += std::to_string(i * 7919 % 10007) + " ";
  }
  const std::string gzip = Gzip(text);
  const std::string zstd = Zstd(text);
  std::string flipped = gzip;
  flipped[gzip.size() / 2] ^= 0x10;
  for (const auto& [name, content, wanted] :
       {std::tuple{"cut.txt.gz", gzip.substr(0, gzip.size() / 2), "too early"},
        {"flipped.txt.gz", flipped, "damaged"},
        {"plain.txt.gz", std::string("plain"), "not a gzip file"},
        {"tail.txt.gz", gzip + "garbage", "not a gzip file"},
        {"empty.txt.gz", std::string(), "too early"},
        {"cut.txt.zst", zstd.substr(0, zstd.size() - 3), "too early"},
        {"plain.txt.zst", std::string("plain"), "not a Zstandard file"}}) {
    const auto status = Read({Write(name, content)}).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << name << status;
    EXPECT_THAT(status.message(), HasSubstr(wanted)) << name;
    EXPECT_THAT(status.message(), HasSubstr(name));
  }
}

TEST_F(DocumentReaderTest, NamesFileLineAndByteOfInvalidUtf8) {
  for (const auto& [text, wanted] :
       {std::pair<std::string, const char*>{"caf\xe9 secret",
                                            "line 1, byte 3 (0xe9)"},
        {"ok\n\xef\xbb\xbf\nsecret \xc3", "line 3, byte 14 (0xc3)"},
        {"secret\n\xed\xa0\x80", "line 2, byte 7 (0xed)"}}) {
    const auto status = Read({Write("bad.txt", text)}).status();
    ASSERT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_THAT(status.message(), HasSubstr("bad.txt: " + std::string(wanted)));
    EXPECT_THAT(status.message(), Not(HasSubstr("secret")));
  }
}

TEST_F(DocumentReaderTest, LeavesOutAByteOrderMark) {
  EXPECT_THAT(*Read({Write("a.txt", "\xef\xbb\xbfx")}), ElementsAre("x"));
  EXPECT_THAT(*Read({Write("a.jsonl", "\xef\xbb\xbf{\"text\":\"x\"}")}),
              ElementsAre("x"));
}

TEST_F(DocumentReaderTest, NamesLineOfBadJson) {
  for (const auto& [line, wanted] :
       {std::pair<std::string, const char*>{"{\"text\": ",
                                            "line 2 is not a JSON object"},
        {"[1]", "line 2 is not a JSON object"},
        {"\"text\"", "line 2 is not a JSON object"},
        {"{\"text\": \"a\"} {}", "line 2 is not a JSON object"},
        {"{\"text\": \"\\ud800\"}", "line 2 is not a JSON object"},
        {"{\"x\":" + std::string(10000, '['), "line 2 is not a JSON object"},
        {"{\"body\": \"secret\"}", "line 2 has no string field \"text\""},
        {"{\"x\": {\"text\": \"secret\"}}", "line 2 has no string field"},
        {"{\"text\": \"a\", \"text\": \"b\"}", "line 2 has no string field"},
        {"{\"text\": [\"secret\"]}", "line 2 has no string field \"text\""},
        {"{\"text\": null}", "line 2 has no string field \"text\""}}) {
    const auto path = Write("x.jsonl", "{\"text\": \"a\"}\n" + line + "\n");
    const auto documents = Read({path});
    ASSERT_TRUE(absl::IsInvalidArgument(documents.status())) << line;
    EXPECT_THAT(documents.status().message(), HasSubstr(wanted));
    EXPECT_THAT(documents.status().message(), Not(HasSubstr("secret")));
  }
}

TEST_F(DocumentReaderTest, IgnoresOtherFields) {
  const auto path = Write(
      "x.jsonl",
      "{\"id\": 7, \"text\": \"a\", \"m\": {\"text\": [1, \"b\", null]}}\n"
      "  \n{\"x\": true, \"y\": 1.5, \"text\": \"\\u00e9\\n\"}\n");
  EXPECT_THAT(*Read({path}), ElementsAre("a", "\xc3\xa9\n"));
}

TEST_F(DocumentReaderTest, RefusesMissingUnknownAndEmptyFiles) {
  EXPECT_TRUE(absl::IsNotFound(Read({folder_.path() / "nowhere"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Read({Write("a.pdf", "x")}).status()));
  Write("empty/readme.md", "x");
  EXPECT_TRUE(absl::IsNotFound(Read({folder_.path() / "empty"}).status()));
  for (const char* content : {"", " \n\n\t\n"}) {
    const auto status = Read({Write("none.txt", content)}).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(status));
    EXPECT_THAT(status.message(), HasSubstr("none.txt: got no document"));
  }
}

}  // namespace
}  // namespace tributary::text

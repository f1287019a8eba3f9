#include "contributor/data/documents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include "common/base/files.h"
#include "contributor/data/decompress.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Gzip(const std::string& text) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8,
                         Z_DEFAULT_STRATEGY),
            Z_OK);
  std::string out(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string Zstd(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(
      ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

class DocumentsTest : public ::testing::Test {
 protected:
  fs::path Write(const std::string& name, const std::string& content) {
    const fs::path path = folder_.path() / name;
    EXPECT_TRUE(MakeDirectories(path.parent_path()).ok());
    EXPECT_TRUE(WriteFileAtomic(path, content).ok());
    return path;
  }

  StatusOr<std::vector<std::string>> Read(const std::vector<fs::path>& paths,
                                          const DocumentOptions& options = {}) {
    ASSIGN_OR_RETURN(const auto files, ListTextFiles(paths));
    std::vector<std::string> documents;
    RETURN_IF_ERROR(ForEachDocument(files, options, [&](std::string_view text) {
      documents.emplace_back(text);
      return absl::OkStatus();
    }));
    return documents;
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("documents");
};

TEST_F(DocumentsTest, SingleTextFileIsSplitAtBlankLines) {
  const auto path = Write("a.txt", "\n one\n  two\r\n\n \t\nthree\n\n\n\nfour");
  const auto documents = Read({path});
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_THAT(*documents, ElementsAre(" one\n  two\r", "three", "four"));
}

TEST_F(DocumentsTest, OneDocumentPerFileInSortedOrder) {
  Write("d/b.txt", "second\n\nstill");
  Write("d/a/z.txt", "first");
  Write("d/c.jsonl", "{\"text\": \"third\"}\n\n{\"text\": \"fourth\"}");
  Write("d/blank.txt", " \n ");
  Write("d/.hidden.txt", "no");
  Write("d/readme.md", "no");
  fs::create_symlink(folder_.path() / "d/b.txt", folder_.path() / "d/e.txt");
  const auto documents = Read({folder_.path() / "d"});
  ASSERT_TRUE(documents.ok()) << documents.status();
  EXPECT_THAT(*documents,
              ElementsAre("first", "second\n\nstill", "third", "fourth"));
}

TEST_F(DocumentsTest, ReadsCompressedFiles) {
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

TEST_F(DocumentsTest, RefusesDamagedAndOversizedCompression) {
  const std::string whole = Gzip(std::string(100000, 'x'));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Gunzip(whole.substr(0, whole.size() / 2), 1 << 20).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Gunzip("plain", 1 << 20).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Gunzip("", 1 << 20).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(Gunzip(whole, 99999).status()));
  EXPECT_TRUE(Gunzip(whole, 100000).ok());
  const std::string frame = Zstd(std::string(100000, 'x'));
  EXPECT_TRUE(absl::IsInvalidArgument(
      Unzstd(frame.substr(0, frame.size() - 3), 1 << 20).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Unzstd("plain", 1 << 20).status()));
  EXPECT_TRUE(absl::IsResourceExhausted(Unzstd(frame, 99999).status()));
}

TEST_F(DocumentsTest, NamesFileAndByteOfInvalidUtf8) {
  const auto path = Write("bad.txt", std::string("caf\xe9 secret"));
  const auto documents = Read({path});
  ASSERT_TRUE(absl::IsInvalidArgument(documents.status()));
  EXPECT_THAT(documents.status().message(),
              HasSubstr("bad.txt: byte 3 (0xe9)"));
  EXPECT_THAT(documents.status().message(), Not(HasSubstr("secret")));
}

TEST_F(DocumentsTest, NamesLineOfBadJson) {
  for (const auto& [line, wanted] :
       {std::pair{"{\"text\": ", "line 2 is not a JSON object"},
        {"[1]", "line 2 is not a JSON object"},
        {"{\"body\": \"secret\"}", "line 2 has no string field \"text\""},
        {"{\"text\": 5}", "line 2 has no string field \"text\""}}) {
    const auto path =
        Write("x.jsonl", std::string("{\"text\": \"a\"}\n") + line + "\n");
    const auto documents = Read({path});
    ASSERT_TRUE(absl::IsInvalidArgument(documents.status())) << line;
    EXPECT_THAT(documents.status().message(), HasSubstr(wanted));
    EXPECT_THAT(documents.status().message(), Not(HasSubstr("secret")));
  }
}

TEST_F(DocumentsTest, RefusesMissingAndUnknownFiles) {
  EXPECT_TRUE(absl::IsNotFound(Read({folder_.path() / "nowhere"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Read({Write("a.pdf", "x")}).status()));
  Write("empty/readme.md", "x");
  EXPECT_TRUE(absl::IsNotFound(Read({folder_.path() / "empty"}).status()));
}

}  // namespace
}  // namespace tributary::contributor

#pragma once

// Text as documents, read one by one in bounded memory. A document is the unit
// that is counted, split into training and held-out text, and kept apart in
// windows.
//   .txt    one document a file; when the whole corpus is a single .txt file,
//           its documents are separated by blank lines instead
//   .jsonl  one document a line: an object whose text field is a string
// Both may be compressed (.gz, .zst). Blank documents are left out.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"
#include "common/text/byte_source.h"
#include "common/text/line_reader.h"
#include "common/text/text_files.h"

namespace tributary::text {

struct DocumentOptions {
  std::string text_field = "text";  // of .jsonl lines
  // A longer document is handed out in parts, cut at line ends, else at
  // spaces, else between characters.
  size_t max_document_bytes = 4u << 20;
  // A longer .jsonl line is refused: JSON has to be parsed as a whole.
  size_t max_line_bytes = 64u << 20;
  ExpansionLimits expansion;
};

struct Document {
  std::string_view text;  // until the next call
  int64_t part = 0;       // 0: whole, or the first part of a long document
};

struct ReadSummary {
  int64_t documents = 0;
  int64_t cut_documents = 0;  // longer than max_document_bytes
  int64_t text_bytes = 0;     // of all documents
};

// Memory: about twice max_document_bytes; while a .jsonl line is longer than
// that, twice the line.
class DocumentReader {
 public:
  // Lists the files of `paths` (see ListTextFiles, whose errors it returns).
  static StatusOr<std::unique_ptr<DocumentReader>> Create(
      const std::vector<std::filesystem::path>& paths,
      DocumentOptions options = {});

  // The next document, or the next part of one; false at the end.
  // INVALID_ARGUMENT names the file and the line and byte where it is not UTF-8
  // or not as described above, never its content; FAILED_PRECONDITION at the
  // end when there was no document at all.
  StatusOr<bool> Next(Document* document);

  const ReadSummary& summary() const { return summary_; }
  // How much of the files has been read, 0 to 1.
  double fraction() const;

 private:
  enum class Mode { kWholeFile, kParagraphs, kJsonLines };
  DocumentReader(std::vector<std::filesystem::path> files,
                 DocumentOptions options, uint64_t total_bytes);

  Status OpenNextFile();
  // Reads until a document is complete or too long, or the file ends.
  Status ReadMore();
  Status TakePiece(const LineReader::Piece& piece);
  Status FinishJsonLine();
  // Hands out text_[done_, done_ + size); false when it is blank.
  bool HandOut(size_t size, Document* document);

  const std::vector<std::filesystem::path> files_;
  const DocumentOptions options_;
  const uint64_t total_bytes_;
  uint64_t finished_bytes_ = 0;
  size_t next_file_ = 0;
  std::unique_ptr<LineReader> lines_;
  Mode mode_ = Mode::kWholeFile;
  ReadSummary summary_;

  std::string text_;       // of the current document
  size_t done_ = 0;        // of text_, already handed out
  int64_t part_ = 0;       // parts already handed out
  bool complete_ = false;  // text_ reaches to the end of the document
  std::string json_line_;
  int64_t json_line_number_ = 0;
  bool line_is_blank_ = true;
};

}  // namespace tributary::text

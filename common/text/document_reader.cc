#include "common/text/document_reader.h"

#include <algorithm>
#include <system_error>
#include <utility>

#include "common/base/text.h"
#include "common/text/json_text.h"

namespace tributary::text {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = 1 << 20;

bool IsBlank(std::string_view text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string_view::npos;
}

// Where to cut text that is longer than `most`.
size_t CutPosition(std::string_view text, size_t most) {
  for (const char* where : {"\n", " "}) {
    const size_t at = text.rfind(where, most - 1);
    if (at != std::string_view::npos && at >= most / 2) {
      return at + 1;
    }
  }
  size_t at = most;
  while (at > 1 && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) {
    --at;
  }
  return at;
}

}  // namespace

DocumentReader::DocumentReader(std::vector<fs::path> files,
                               DocumentOptions options, uint64_t total_bytes)
    : files_(std::move(files)),
      options_(std::move(options)),
      total_bytes_(total_bytes) {}

StatusOr<std::unique_ptr<DocumentReader>> DocumentReader::Create(
    const std::vector<fs::path>& paths, DocumentOptions options) {
  if (options.max_document_bytes < 16) {
    return InvalidArgument("max_document_bytes: got {}, wanted at least 16",
                           options.max_document_bytes);
  }
  ASSIGN_OR_RETURN(std::vector<fs::path> files, ListTextFiles(paths));
  uint64_t total = 0;
  for (const fs::path& file : files) {
    std::error_code error;
    const uint64_t size = fs::file_size(file, error);
    total += error ? 0 : size;
  }
  return std::unique_ptr<DocumentReader>(
      new DocumentReader(std::move(files), std::move(options), total));
}

double DocumentReader::fraction() const {
  const uint64_t read =
      finished_bytes_ + (lines_ == nullptr ? 0 : lines_->file_position());
  return total_bytes_ == 0
             ? 1.0
             : std::min(1.0, static_cast<double>(read) /
                                 static_cast<double>(total_bytes_));
}

Status DocumentReader::OpenNextFile() {
  const fs::path& path = files_[next_file_++];
  const auto kind = KindOf(path);
  if (!kind) {
    return InvalidArgument("{}: neither .txt nor .jsonl", path.string());
  }
  mode_ = kind->form == FileKind::Form::kJsonLines ? Mode::kJsonLines
          : files_.size() == 1                     ? Mode::kParagraphs
                                                   : Mode::kWholeFile;
  ASSIGN_OR_RETURN(auto source,
                   OpenByteSource(path, kind->packing, options_.expansion));
  lines_ = std::make_unique<LineReader>(
      std::move(source), path.string(),
      std::min(kPieceBytes, options_.max_document_bytes));
  return absl::OkStatus();
}

bool DocumentReader::HandOut(size_t size, Document* document) {
  const std::string_view text = std::string_view(text_).substr(done_, size);
  done_ += size;
  if (IsBlank(text)) {
    return false;
  }
  *document = {.text = text, .part = part_++};
  summary_.documents += document->part == 0 ? 1 : 0;
  summary_.cut_documents += document->part == 1 ? 1 : 0;
  summary_.text_bytes += static_cast<int64_t>(size);
  return true;
}

StatusOr<bool> DocumentReader::Next(Document* document) {
  while (true) {
    const size_t left = text_.size() - done_;
    if (left > options_.max_document_bytes) {
      const std::string_view rest = std::string_view(text_).substr(done_);
      if (HandOut(CutPosition(rest, options_.max_document_bytes), document)) {
        return true;
      }
      continue;
    }
    if (complete_) {
      complete_ = false;
      if (HandOut(left, document)) {
        return true;
      }
      continue;
    }
    if (done_ > 0) {
      text_.erase(0, done_);
      done_ = 0;
    }
    if (lines_ == nullptr) {
      if (next_file_ == files_.size()) {
        break;
      }
      RETURN_IF_ERROR(OpenNextFile());
    }
    RETURN_IF_ERROR(ReadMore());
  }
  if (summary_.documents == 0) {
    return FailedPrecondition(
        "{}: got no document: {} text files with {} in all are empty or blank",
        files_.empty() ? "text" : files_[0].string(), files_.size(),
        HumanBytes(total_bytes_));
  }
  return false;
}

Status DocumentReader::ReadMore() {
  if (text_.empty()) {
    part_ = 0;
  }
  LineReader::Piece piece;
  while (!complete_ && text_.size() <= options_.max_document_bytes) {
    ASSIGN_OR_RETURN(const bool more, lines_->Next(&piece));
    if (!more) {
      finished_bytes_ += lines_->file_position();
      lines_.reset();
      complete_ = true;
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(TakePiece(piece));
  }
  return absl::OkStatus();
}

Status DocumentReader::TakePiece(const LineReader::Piece& piece) {
  switch (mode_) {
    case Mode::kJsonLines:
      if (json_line_.size() + piece.text.size() > options_.max_line_bytes) {
        return InvalidArgument(
            "{}: line {} is longer than {}; split the document, or put it into "
            "a .txt file of its own, which is read in parts",
            files_[next_file_ - 1].string(), piece.line,
            HumanBytes(options_.max_line_bytes));
      }
      json_line_.append(piece.text);
      json_line_number_ = piece.line;
      return piece.last ? FinishJsonLine() : absl::OkStatus();
    case Mode::kParagraphs:
      line_is_blank_ = (piece.first || line_is_blank_) && IsBlank(piece.text);
      if (line_is_blank_ && piece.last) {
        complete_ = !text_.empty() || part_ > 0;
        return absl::OkStatus();
      }
      if (piece.first && !text_.empty()) {
        text_.push_back('\n');
      }
      text_.append(piece.text);
      return absl::OkStatus();
    case Mode::kWholeFile:
      break;
  }
  text_.append(piece.text);
  if (piece.line_feed) {
    text_.push_back('\n');
  }
  return absl::OkStatus();
}

Status DocumentReader::FinishJsonLine() {
  const auto refuse = [&](std::string_view problem) {
    return InvalidArgument("{}: line {} {}", files_[next_file_ - 1].string(),
                           json_line_number_, problem);
  };
  if (!IsBlank(json_line_)) {
    switch (ReadJsonText(json_line_, options_.text_field, &text_)) {
      case JsonTextFault::kNone:
        complete_ = true;
        break;
      case JsonTextFault::kNotAnObject:
        return refuse(fmt::format(
            "is not a JSON object; wanted one document a line, {{\"{}\": "
            "\"...\"}}",
            options_.text_field));
      case JsonTextFault::kNoText:
        return refuse(fmt::format(
            "has no string field \"{}\", or has it twice; name the text's "
            "field with text_field",
            options_.text_field));
    }
  }
  json_line_.clear();
  if (json_line_.capacity() > 2 * kPieceBytes) {
    json_line_.shrink_to_fit();
  }
  return absl::OkStatus();
}

}  // namespace tributary::text

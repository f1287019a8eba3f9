#include "common/text/line_reader.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/text.h"

namespace tributary::text {
namespace {

constexpr size_t kReadBytes = 1 << 18;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

bool IsContinuation(char c) {
  return (static_cast<unsigned char>(c) & 0xc0) == 0x80;
}

}  // namespace

LineReader::LineReader(std::unique_ptr<ByteSource> source, std::string name,
                       size_t max_piece_bytes)
    : source_(std::move(source)),
      name_(std::move(name)),
      max_piece_bytes_(std::max<size_t>(max_piece_bytes, 4)) {}

Status LineReader::Fill() {
  if (begin_ > 0) {
    std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (buffer_.size() < end_ + kReadBytes) {
    buffer_.resize(end_ + kReadBytes);
  }
  ASSIGN_OR_RETURN(const size_t got,
                   source_->Read(std::span(buffer_.data() + end_, kReadBytes)));
  end_ += got;
  ended_ = got == 0;
  return absl::OkStatus();
}

Status LineReader::CheckUtf8(std::string_view text) const {
  const auto at = FirstInvalidUtf8(text);
  if (!at) {
    return absl::OkStatus();
  }
  return InvalidArgument(
      "{}: line {}, byte {} (0x{:02x}) is not UTF-8; convert the file, for "
      "example with iconv",
      name_, line_, offset_ + *at, static_cast<unsigned char>(text[*at]));
}

StatusOr<bool> LineReader::Next(Piece* piece) {
  if (offset_ == 0 && begin_ == 0 && !in_line_) {
    while (!ended_ && end_ < kByteOrderMark.size()) {
      RETURN_IF_ERROR(Fill());
    }
    if (std::string_view(buffer_.data(), end_).starts_with(kByteOrderMark)) {
      begin_ = offset_ = kByteOrderMark.size();
    }
  }
  size_t searched = 0;
  while (true) {
    const std::string_view rest(buffer_.data() + begin_, end_ - begin_);
    const size_t feed = rest.find('\n', searched);
    const bool found = feed != std::string_view::npos;
    searched = rest.size();
    if (!found && !ended_ && rest.size() <= max_piece_bytes_) {
      RETURN_IF_ERROR(Fill());
      continue;
    }
    if (rest.empty() && !in_line_) {
      return false;
    }
    size_t size = found ? feed : rest.size();
    bool last = true;
    if (size > max_piece_bytes_) {
      last = false;
      size = max_piece_bytes_;
      for (int back = 0; back < 3 && IsContinuation(rest[size]); ++back) {
        --size;
      }
    }
    if (!in_line_) {
      ++line_;
    }
    *piece = {.text = rest.substr(0, size),
              .line = line_,
              .first = !in_line_,
              .last = last,
              .line_feed = last && found};
    RETURN_IF_ERROR(CheckUtf8(piece->text));
    in_line_ = !last;
    const size_t taken = size + (piece->line_feed ? 1 : 0);
    begin_ += taken;
    offset_ += taken;
    return true;
  }
}

}  // namespace tributary::text

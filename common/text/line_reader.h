#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/text/byte_source.h"

namespace tributary::text {

// Reads UTF-8 text line by line in bounded memory: a line that is longer than
// `max_piece_bytes` comes in pieces, cut between characters. A byte order mark
// at the start is left out.
class LineReader {
 public:
  // `name` is what error messages begin with.
  LineReader(std::unique_ptr<ByteSource> source, std::string name,
             size_t max_piece_bytes);

  struct Piece {
    std::string_view text;   // without the line feed; until the next call
    int64_t line = 0;        // from 1
    bool first = false;      // of its line
    bool last = false;       // of its line
    bool line_feed = false;  // the line ends with one
  };

  // The next piece, or false at the end. INVALID_ARGUMENT naming line and byte
  // (of the decompressed content, from 0) where the text is not UTF-8, and as
  // ByteSource.
  StatusOr<bool> Next(Piece* piece);

  uint64_t file_position() const { return source_->file_position(); }

 private:
  Status Fill();
  Status CheckUtf8(std::string_view text) const;

  const std::unique_ptr<ByteSource> source_;
  const std::string name_;
  const size_t max_piece_bytes_;
  std::string buffer_;
  size_t begin_ = 0;  // unread bytes of buffer_ are [begin_, end_)
  size_t end_ = 0;
  uint64_t offset_ = 0;  // of buffer_[begin_] in the content
  bool ended_ = false;
  bool in_line_ = false;
  int64_t line_ = 0;
};

}  // namespace tributary::text

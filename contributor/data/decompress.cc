#include "contributor/data/decompress.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <memory>
#include <vector>

namespace tributary::contributor {
namespace {

constexpr size_t kChunkBytes = 1 << 18;

Status TooLong(uint64_t max_bytes) {
  return ResourceExhausted(
      "the decompressed content is longer than {} bytes; split the file",
      max_bytes);
}

}  // namespace

StatusOr<std::string> Gunzip(std::string_view data, uint64_t max_bytes) {
  z_stream stream = {};
  if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) {
    return Internal("zlib could not be initialised");
  }
  const std::unique_ptr<z_stream, int (*)(z_stream*)> guard(&stream,
                                                            inflateEnd);
  std::string content;
  std::vector<char> chunk(kChunkBytes);
  size_t at = 0;
  int state = Z_OK;
  while (at < data.size() || state != Z_STREAM_END) {
    if (state == Z_STREAM_END && inflateReset(&stream) != Z_OK) {
      return Internal("zlib could not be reset");
    }
    const size_t in = std::min<size_t>(data.size() - at, 1 << 30);
    stream.next_in =
        reinterpret_cast<Bytef*>(const_cast<char*>(data.data() + at));
    stream.avail_in = static_cast<uInt>(in);
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = static_cast<uInt>(chunk.size());
    state = inflate(&stream, Z_NO_FLUSH);
    at += in - stream.avail_in;
    content.append(chunk.data(), chunk.size() - stream.avail_out);
    if (state != Z_OK && state != Z_STREAM_END) {
      return InvalidArgument(
          "not a complete gzip file: error at compressed byte {} of {}", at,
          data.size());
    }
    if (content.size() > max_bytes) {
      return TooLong(max_bytes);
    }
  }
  return content;
}

StatusOr<std::string> Unzstd(std::string_view data, uint64_t max_bytes) {
  const std::unique_ptr<ZSTD_DCtx, size_t (*)(ZSTD_DCtx*)> context(
      ZSTD_createDCtx(), ZSTD_freeDCtx);
  std::string content;
  std::vector<char> chunk(kChunkBytes);
  ZSTD_inBuffer in = {data.data(), data.size(), 0};
  // 0 when a frame is complete and its content has been handed out.
  size_t pending = 1;
  while (true) {
    ZSTD_outBuffer out = {chunk.data(), chunk.size(), 0};
    pending = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(pending)) {
      return InvalidArgument(
          "not a Zstandard file: {} at compressed byte {} of {}",
          ZSTD_getErrorName(pending), in.pos, data.size());
    }
    content.append(chunk.data(), out.pos);
    if (content.size() > max_bytes) {
      return TooLong(max_bytes);
    }
    if (in.pos == in.size && out.pos < out.size) {
      break;
    }
  }
  if (pending != 0) {
    return InvalidArgument(
        "the Zstandard file ends inside a frame, after {} "
        "bytes; copy it again",
        data.size());
  }
  return content;
}

}  // namespace tributary::contributor

#include "common/text/byte_source.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <cerrno>
#include <string>
#include <utility>
#include <vector>

#include "common/base/files.h"

namespace tributary::text {
namespace {

constexpr size_t kChunkBytes = 1 << 18;

class PlainSource : public ByteSource {
 public:
  PlainSource(std::filesystem::path path, FileDescriptor file)
      : path_(std::move(path)), file_(std::move(file)) {}

  StatusOr<size_t> Read(std::span<char> out) override {
    while (true) {
      const ssize_t got = read(file_.get(), out.data(), out.size());
      if (got >= 0) {
        position_ += static_cast<uint64_t>(got);
        return static_cast<size_t>(got);
      }
      if (errno != EINTR) {
        return ErrnoStatus(errno, "read " + path_.string());
      }
    }
  }

  uint64_t file_position() const override { return position_; }
  std::string path() const { return path_.string(); }

 private:
  std::filesystem::path path_;
  FileDescriptor file_;
  uint64_t position_ = 0;
};

// What both decompressors share: a chunk of input and the limits.
class PackedSource : public ByteSource {
 public:
  PackedSource(PlainSource file, const ExpansionLimits& limits)
      : file_(std::move(file)), limits_(limits), chunk_(kChunkBytes) {}

  StatusOr<size_t> Read(std::span<char> out) final {
    while (true) {
      if (at_ == size_ && !ended_) {
        at_ = 0;
        ASSIGN_OR_RETURN(size_, file_.Read(chunk_));
        ended_ = size_ == 0;
      }
      if (ended_ && size_ == 0 && !HasOutput()) {
        RETURN_IF_ERROR(CheckEnd());
        return 0;
      }
      ASSIGN_OR_RETURN(const size_t made, Unpack(out));
      content_bytes_ += made;
      if (content_bytes_ > limits_.free_bytes &&
          content_bytes_ / limits_.max_ratio > file_.file_position()) {
        return ResourceExhausted(
            "{}: {} compressed bytes became more than {}, wanted at most {} "
            "times as many; unpack the file yourself if it is meant to be so",
            file_.path(), file_.file_position(), content_bytes_,
            limits_.max_ratio);
      }
      if (made > 0) {
        return made;
      }
    }
  }

  uint64_t file_position() const final { return file_.file_position(); }

 protected:
  // Unpacks from input() into `out`, calls Consume, returns the bytes made.
  virtual StatusOr<size_t> Unpack(std::span<char> out) = 0;
  // Whether Unpack could still make output from what it has taken in.
  virtual bool HasOutput() const = 0;
  // An error when the input ended too early.
  virtual Status CheckEnd() const = 0;

  std::span<const char> input() const {
    return std::span(chunk_).subspan(at_, size_ - at_);
  }
  void Consume(size_t bytes) { at_ += bytes; }
  std::string path() const { return file_.path(); }
  uint64_t consumed() const { return file_.file_position() - (size_ - at_); }

 private:
  PlainSource file_;
  const ExpansionLimits limits_;
  std::vector<char> chunk_;
  size_t at_ = 0;
  size_t size_ = 0;
  bool ended_ = false;
  uint64_t content_bytes_ = 0;
};

class GzipSource : public PackedSource {
 public:
  using PackedSource::PackedSource;
  ~GzipSource() override { inflateEnd(&stream_); }

  Status Start() {
    return inflateInit2(&stream_, 16 + MAX_WBITS) == Z_OK
               ? absl::OkStatus()
               : Internal("zlib could not be initialised");
  }

 private:
  StatusOr<size_t> Unpack(std::span<char> out) override {
    if (state_ == Z_STREAM_END) {
      if (inflateReset(&stream_) != Z_OK) {
        return Internal("zlib could not be reset");
      }
    }
    const std::span<const char> in = input();
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    stream_.avail_in = static_cast<uInt>(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    state_ = inflate(&stream_, Z_NO_FLUSH);
    Consume(in.size() - stream_.avail_in);
    if (state_ != Z_OK && state_ != Z_STREAM_END && state_ != Z_BUF_ERROR) {
      return InvalidArgument(
          "{}: not a gzip file, or damaged, near compressed byte {}", path(),
          consumed());
    }
    full_ = stream_.avail_out == 0;
    return out.size() - stream_.avail_out;
  }
  bool HasOutput() const override { return full_ && state_ == Z_OK; }
  Status CheckEnd() const override {
    return state_ == Z_STREAM_END
               ? absl::OkStatus()
               : InvalidArgument(
                     "{}: the gzip file ends too early, after {} bytes; copy "
                     "it again",
                     path(), consumed());
  }

  z_stream stream_ = {};
  int state_ = Z_OK;
  bool full_ = false;
};

class ZstdSource : public PackedSource {
 public:
  using PackedSource::PackedSource;

 private:
  struct Free {
    void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  };

  StatusOr<size_t> Unpack(std::span<char> out) override {
    const std::span<const char> data = input();
    ZSTD_inBuffer in = {data.data(), data.size(), 0};
    ZSTD_outBuffer to = {out.data(), out.size(), 0};
    pending_ = ZSTD_decompressStream(context_.get(), &to, &in);
    if (ZSTD_isError(pending_)) {
      return InvalidArgument(
          "{}: not a Zstandard file, or damaged ({}), near compressed byte {}",
          path(), ZSTD_getErrorName(pending_), consumed());
    }
    Consume(in.pos);
    full_ = to.pos == to.size;
    return to.pos;
  }
  bool HasOutput() const override { return full_ && pending_ != 0; }
  Status CheckEnd() const override {
    return pending_ == 0
               ? absl::OkStatus()
               : InvalidArgument(
                     "{}: the Zstandard file ends too early, after {} bytes; "
                     "copy it again",
                     path(), consumed());
  }

  const std::unique_ptr<ZSTD_DCtx, Free> context_{ZSTD_createDCtx()};
  size_t pending_ = 1;  // 0 where a frame is complete
  bool full_ = false;
};

}  // namespace

StatusOr<std::unique_ptr<ByteSource>> OpenByteSource(
    const std::filesystem::path& path, FileKind::Packing packing,
    const ExpansionLimits& limits) {
  ASSIGN_OR_RETURN(FileDescriptor file, OpenFile(path, O_RDONLY));
  PlainSource plain(path, std::move(file));
  switch (packing) {
    case FileKind::Packing::kPlain:
      return std::make_unique<PlainSource>(std::move(plain));
    case FileKind::Packing::kZstd:
      return std::make_unique<ZstdSource>(std::move(plain), limits);
    case FileKind::Packing::kGzip:
      break;
  }
  auto source = std::make_unique<GzipSource>(std::move(plain), limits);
  RETURN_IF_ERROR(source->Start());
  return source;
}

}  // namespace tributary::text

#include "common/safetensors/writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "common/base/random.h"
#include "common/base/text.h"

namespace tributary::safetensors {
namespace {

constexpr size_t kBufferBytes = 1 << 20;

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace

Writer::Writer(std::filesystem::path path, std::filesystem::path temporary,
               FileDescriptor file, uint64_t data_begin, uint64_t data_bytes)
    : path_(std::move(path)),
      temporary_(std::move(temporary)),
      file_(std::move(file)),
      data_begin_(data_begin),
      data_bytes_(data_bytes) {}

StatusOr<std::unique_ptr<Writer>> Writer::Create(
    const std::filesystem::path& path, std::vector<TensorSpec> tensors,
    const WriteOptions& options) {
  auto header = SerializeHeader(tensors, options.metadata);
  if (!header.ok()) {
    return AnnotateFault(header.status(), path.string());
  }
  uint64_t data_bytes = 0;
  for (const TensorSpec& tensor : tensors) {
    ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(tensor));
    data_bytes += bytes;
  }
  const std::filesystem::path temporary =
      path.string() + ".tmp-" + ToHex(RandomBytes(6));
  ASSIGN_OR_RETURN(
      FileDescriptor file,
      OpenFile(temporary, O_WRONLY | O_CREAT | O_EXCL, options.mode));
  std::unique_ptr<Writer> writer(
      new Writer(path, temporary, std::move(file), header->size(), data_bytes));
  RETURN_IF_ERROR(
      Annotate(WriteAll(writer->file_, *header, 0), temporary.string()));
  writer->buffer_.reserve(std::min<uint64_t>(kBufferBytes, data_bytes));
  return writer;
}

Writer::~Writer() {
  if (!finished_) {
    unlink(temporary_.c_str());
  }
}

Status Writer::Flush() {
  RETURN_IF_ERROR(
      Annotate(WriteAll(file_, AsText(buffer_), data_begin_ + flushed_),
               temporary_.string()));
  flushed_ += buffer_.size();
  buffer_.clear();
  return absl::OkStatus();
}

Status Writer::Append(std::span<const std::byte> bytes) {
  if (finished_) {
    return FailedPrecondition("{}: is finished already", path_.string());
  }
  if (bytes.size() > data_bytes_ - appended_) {
    return OutOfRange("{}: got {} bytes after {}, wanted {} in all",
                      path_.string(), bytes.size(), appended_, data_bytes_);
  }
  appended_ += bytes.size();
  // Small pieces are gathered, large ones written from where they are.
  if (buffer_.size() + bytes.size() < kBufferBytes) {
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Flush());
  RETURN_IF_ERROR(
      Annotate(WriteAll(file_, AsText(bytes), data_begin_ + flushed_),
               temporary_.string()));
  flushed_ += bytes.size();
  return absl::OkStatus();
}

Status Writer::Finish() {
  if (finished_) {
    return FailedPrecondition("{}: is finished already", path_.string());
  }
  if (appended_ != data_bytes_) {
    return FailedPrecondition("{}: got {} bytes of data, wanted {}",
                              path_.string(), appended_, data_bytes_);
  }
  RETURN_IF_ERROR(Flush());
  if (fsync(file_.get()) != 0) {
    return ErrnoStatus(errno, "fsync " + temporary_.string());
  }
  if (rename(temporary_.c_str(), path_.c_str()) != 0) {
    return ErrnoStatus(errno, "rename to " + path_.string());
  }
  finished_ = true;
  const std::filesystem::path folder = path_.parent_path();
  return SyncDirectory(folder.empty() ? "." : folder);
}

Status WriteFile(const std::filesystem::path& path,
                 const std::vector<TensorView>& tensors,
                 const WriteOptions& options) {
  std::vector<TensorSpec> specs;
  specs.reserve(tensors.size());
  for (const TensorView& tensor : tensors) {
    ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(tensor.spec));
    if (bytes != tensor.bytes.size()) {
      return InvalidArgument(
          "{}: {} {} {} takes {} bytes, got {}", path.string(),
          tensor.spec.name, DTypeName(tensor.spec.dtype),
          tensor.spec.shape.ToString(), bytes, tensor.bytes.size());
    }
    specs.push_back(tensor.spec);
  }
  ASSIGN_OR_RETURN(const auto writer,
                   Writer::Create(path, std::move(specs), options));
  for (const TensorView& tensor : tensors) {
    RETURN_IF_ERROR(writer->Append(tensor.bytes));
  }
  return writer->Finish();
}

}  // namespace tributary::safetensors

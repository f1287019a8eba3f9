#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "coordinator/export/gguf_file.h"

namespace tributary::coordinator::gguf {
namespace {

constexpr uint32_t kVersion = 3;
constexpr size_t kBufferBytes = 1 << 20;

// The type ids of metadata values.
enum ValueType : uint32_t {
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
};

// Appends values in the file's form: little-endian, as this machine is.
class Encoder {
 public:
  template <typename T>
  void Number(T value) {
    text_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void String(std::string_view value) {
    Number<uint64_t>(value.size());
    text_ += value;
  }
  void operator()(uint32_t value) { Typed(kUint32, value); }
  void operator()(int32_t value) { Typed(kInt32, value); }
  void operator()(float value) { Typed(kFloat32, value); }
  void operator()(bool value) {
    Typed(kBool, static_cast<uint8_t>(value ? 1 : 0));
  }
  void operator()(const std::string& value) {
    Number<uint32_t>(kString);
    String(value);
  }
  void operator()(const std::vector<std::string>& values) {
    Array(kString, values.size());
    for (const std::string& value : values) {
      String(value);
    }
  }
  void operator()(const std::vector<int32_t>& values) {
    Array(kInt32, values.size());
    for (const int32_t value : values) {
      Number(value);
    }
  }

  const std::string& text() const { return text_; }

 private:
  template <typename T>
  void Typed(ValueType type, T value) {
    Number<uint32_t>(type);
    Number(value);
  }
  void Array(ValueType type, size_t size) {
    Number<uint32_t>(kArray);
    Number<uint32_t>(type);
    Number<uint64_t>(size);
  }

  std::string text_;
};

}  // namespace

uint64_t TypeSize(Type type) { return type == Type::kF32 ? 4 : 2; }

uint64_t Tensor::bytes() const {
  uint64_t elements = 1;
  for (const int64_t size : shape) {
    elements *= static_cast<uint64_t>(size);
  }
  return elements * TypeSize(type);
}

StatusOr<std::unique_ptr<Writer>> Writer::Create(
    const std::filesystem::path& path, const Metadata& metadata,
    std::vector<Tensor> tensors) {
  Encoder header;
  header.Number<uint32_t>(0x46554747);  // "GGUF"
  header.Number(kVersion);
  header.Number<uint64_t>(tensors.size());
  header.Number<uint64_t>(metadata.size());
  for (const auto& [key, value] : metadata) {
    header.String(key);
    std::visit(header, value);
  }
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors) {
    if (tensor.shape.empty() || tensor.shape.size() > 4 ||
        tensor.bytes() == 0) {
      return InvalidArgument("{}: {} has {} dimensions and {} bytes",
                             path.string(), tensor.name, tensor.shape.size(),
                             tensor.bytes());
    }
    header.String(tensor.name);
    header.Number<uint32_t>(static_cast<uint32_t>(tensor.shape.size()));
    for (auto size = tensor.shape.rbegin(); size != tensor.shape.rend();
         ++size) {
      header.Number<uint64_t>(static_cast<uint64_t>(*size));
    }
    header.Number(static_cast<uint32_t>(tensor.type));
    header.Number(offset);
    offset = Aligned(offset + tensor.bytes());
  }
  ASSIGN_OR_RETURN(FileDescriptor file,
                   OpenFile(path, O_WRONLY | O_CREAT | O_EXCL));
  std::unique_ptr<Writer> writer(
      new Writer(std::move(file), std::move(tensors)));
  RETURN_IF_ERROR(writer->Write(std::as_bytes(std::span(header.text()))));
  RETURN_IF_ERROR(writer->Pad());
  return writer;
}

Status Writer::Flush() {
  RETURN_IF_ERROR(WriteAll(file_, buffer_, position_ - buffer_.size()));
  buffer_.clear();
  return absl::OkStatus();
}

Status Writer::Write(std::span<const std::byte> bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()),
                              bytes.size());
  if (buffer_.size() + text.size() < kBufferBytes) {
    buffer_ += text;
    position_ += text.size();
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Flush());
  RETURN_IF_ERROR(WriteAll(file_, text, position_));
  position_ += text.size();
  return absl::OkStatus();
}

Status Writer::Pad() {
  static constexpr std::byte kZeros[kAlignment] = {};
  return Write({kZeros, Aligned(position_) - position_});
}

Status Writer::Append(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    if (next_ == tensors_.size()) {
      return OutOfRange("got {} bytes behind the last tensor", bytes.size());
    }
    const uint64_t left = tensors_[next_].bytes() - written_;
    const auto piece = bytes.first(std::min<uint64_t>(left, bytes.size()));
    RETURN_IF_ERROR(Write(piece));
    written_ += piece.size();
    bytes = bytes.subspan(piece.size());
    if (written_ == tensors_[next_].bytes()) {
      RETURN_IF_ERROR(Pad());
      ++next_;
      written_ = 0;
    }
  }
  return absl::OkStatus();
}

Status Writer::Finish() {
  if (next_ != tensors_.size()) {
    return FailedPrecondition("got {} of {} bytes of tensor {}", written_,
                              tensors_[next_].bytes(), tensors_[next_].name);
  }
  RETURN_IF_ERROR(Flush());
  return fsync(file_.get()) == 0 ? absl::OkStatus()
                                 : ErrnoStatus(errno, "fsync");
}

}  // namespace tributary::coordinator::gguf

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "coordinator/export/gguf_file.h"

namespace tributary::coordinator::gguf {
namespace {

constexpr uint64_t kMaxEntries = 1 << 20;
constexpr uint64_t kMaxDimensions = 4;

// Reads values; after the first that does not fit, everything is zero.
class Decoder {
 public:
  explicit Decoder(std::span<const std::byte> bytes) : bytes_(bytes) {}

  template <typename T>
  T Number() {
    T value{};
    if (Take(sizeof(T))) {
      std::memcpy(&value, bytes_.data() + position_ - sizeof(T), sizeof(T));
    }
    return value;
  }
  std::string String() {
    const auto size = Number<uint64_t>();
    if (!Take(size)) {
      return {};
    }
    return {reinterpret_cast<const char*>(bytes_.data()) + position_ - size,
            size};
  }
  // A number of things that each take at least a byte.
  uint64_t Count() {
    const auto count = Number<uint64_t>();
    ok_ = ok_ && count <= bytes_.size() - position_;
    return ok_ ? count : 0;
  }
  Value Any() {
    const auto type = Number<uint32_t>();
    switch (type) {
      case 4:
        return Number<uint32_t>();
      case 5:
        return Number<int32_t>();
      case 6:
        return Number<float>();
      case 7:
        return Number<uint8_t>() != 0;
      case 8:
        return String();
      case 9:
        return Array();
      default:
        ok_ = false;
        return uint32_t{0};
    }
  }

  bool ok() const { return ok_; }
  uint64_t position() const { return position_; }

 private:
  bool Take(uint64_t size) {
    ok_ = ok_ && size <= bytes_.size() - position_;
    position_ += ok_ ? size : 0;
    return ok_;
  }
  Value Array() {
    const auto type = Number<uint32_t>();
    const uint64_t count = Count();
    if (type == 8) {
      std::vector<std::string> values;
      for (uint64_t i = 0; i < count && ok_; ++i) {
        values.push_back(String());
      }
      return values;
    }
    std::vector<int32_t> values;
    ok_ = ok_ && type == 5;
    for (uint64_t i = 0; i < count && ok_; ++i) {
      values.push_back(Number<int32_t>());
    }
    return values;
  }

  const std::span<const std::byte> bytes_;
  uint64_t position_ = 0;
  bool ok_ = true;
};

}  // namespace

StatusOr<std::unique_ptr<File>> File::Open(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(const FileDescriptor descriptor, OpenFile(path, O_RDONLY));
  struct stat info = {};
  if (fstat(descriptor.get(), &info) != 0) {
    return ErrnoStatus(errno, "stat " + path.string());
  }
  if (!S_ISREG(info.st_mode) || info.st_size == 0) {
    return InvalidArgument("{}: is not a file with content", path.string());
  }
  const auto size = static_cast<size_t>(info.st_size);
  void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor.get(), 0);
  if (data == MAP_FAILED) {
    return ErrnoStatus(errno, "map " + path.string());
  }
  std::unique_ptr<File> file(
      new File({static_cast<const std::byte*>(data), size}));
  RETURN_IF_ERROR(file->Parse(path.string()));
  return file;
}

File::~File() { munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size()); }

Status File::Parse(const std::string& name) {
  Decoder decoder(bytes_);
  const auto magic = decoder.Number<uint32_t>();
  const auto version = decoder.Number<uint32_t>();
  if (magic != 0x46554747 || version != 3) {
    return InvalidArgument(
        "{}: got version {}, wanted a GGUF file of version 3", name, version);
  }
  const auto tensors = decoder.Number<uint64_t>();
  const auto values = decoder.Number<uint64_t>();
  if (tensors > kMaxEntries || values > kMaxEntries) {
    return InvalidArgument("{}: got {} tensors and {} values", name, tensors,
                           values);
  }
  for (uint64_t i = 0; i < values && decoder.ok(); ++i) {
    std::string key = decoder.String();
    Value value = decoder.Any();
    if (!metadata_.emplace(key, std::move(value)).second) {
      return InvalidArgument("{}: has {} twice", name, key);
    }
  }
  for (uint64_t i = 0; i < tensors && decoder.ok(); ++i) {
    Tensor tensor{.name = decoder.String(), .shape = {}};
    const auto dimensions = decoder.Number<uint32_t>();
    if (dimensions < 1 || dimensions > kMaxDimensions) {
      return InvalidArgument("{}: tensor {} has {} dimensions", name,
                             tensor.name, dimensions);
    }
    uint64_t elements = 1;
    for (uint32_t d = 0; d < dimensions; ++d) {
      const auto extent = decoder.Number<uint64_t>();
      if (extent == 0 || extent > bytes_.size() / elements) {
        return InvalidArgument("{}: tensor {} does not fit", name, tensor.name);
      }
      elements *= extent;
      tensor.shape.insert(tensor.shape.begin(), static_cast<int64_t>(extent));
    }
    const auto type = decoder.Number<uint32_t>();
    const auto offset = decoder.Number<uint64_t>();
    if (type != 0 && type != 1 && type != 30) {
      return InvalidArgument("{}: tensor {} has type {}, wanted F32, F16, BF16",
                             name, tensor.name, type);
    }
    tensor.type = static_cast<Type>(type);
    if (!index_.emplace(tensor.name, std::pair(tensors_.size(), offset))
             .second) {
      return InvalidArgument("{}: has tensor {} twice", name, tensor.name);
    }
    tensors_.push_back(std::move(tensor));
  }
  if (!decoder.ok()) {
    return InvalidArgument("{}: its header is damaged or of unknown types",
                           name);
  }
  const uint64_t begin = Aligned(decoder.position());
  for (auto& [tensor, entry] : index_) {
    auto& [at, offset] = entry;
    if (begin > bytes_.size() || offset > bytes_.size() - begin ||
        tensors_[at].bytes() > bytes_.size() - begin - offset) {
      return InvalidArgument("{}: tensor {} lies outside of the file", name,
                             tensor);
    }
    offset += begin;
  }
  return absl::OkStatus();
}

const Tensor* File::Find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &tensors_[found->second.first];
}

std::span<const std::byte> File::Bytes(const Tensor& tensor) const {
  return bytes_.subspan(index_.at(tensor.name).second, tensor.bytes());
}

}  // namespace tributary::coordinator::gguf

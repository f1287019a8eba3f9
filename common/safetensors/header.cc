#include "common/safetensors/header.h"

#include <array>
#include <bit>
#include <cstring>
#include <unordered_set>

#include "common/base/text.h"
#include "common/safetensors/header_parse.h"

namespace tributary::safetensors {
namespace {

constexpr size_t kLengthBytes = 8;

bool IsAscii(std::string_view text) {
  std::array<uint64_t, 4> bits = {};
  size_t i = 0;
  for (; i + sizeof(bits) <= text.size(); i += sizeof(bits)) {
    std::array<uint64_t, 4> words;
    std::memcpy(words.data(), text.data() + i, sizeof(words));
    for (size_t k = 0; k < words.size(); ++k) {
      bits[k] |= words[k];
    }
  }
  for (; i < text.size(); ++i) {
    bits[0] |= static_cast<unsigned char>(text[i]) & 0x80u;
  }
  return ((bits[0] | bits[1] | bits[2] | bits[3]) & 0x8080808080808080u) == 0;
}

// A multiplicative hash over words of 8 bytes; names are short.
uint64_t Hash(std::string_view name) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15;
  uint64_t hash = name.size() * kMultiplier;
  uint64_t word = 0;
  if (name.size() < 8) {
    for (const char c : name) {
      word = word << 8 | static_cast<unsigned char>(c);
    }
  } else {
    const char* at = name.data();
    const char* const last = at + name.size() - 8;
    for (; at < last; at += 8) {
      std::memcpy(&word, at, 8);
      hash = (std::rotl(hash, 29) ^ word) * kMultiplier;
    }
    std::memcpy(&word, last, 8);
  }
  hash = (std::rotl(hash, 29) ^ word) * kMultiplier;
  return hash ^ hash >> 32;
}

// JSON with the escapes that are necessary and no others.
void AppendString(std::string_view text, std::string* out) {
  out->push_back('"');
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out->push_back('\\');
      out->push_back(c);
    } else if (static_cast<unsigned char>(c) < 0x20) {
      *out += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    } else {
      out->push_back(c);
    }
  }
  out->push_back('"');
}

Status CheckText(std::string_view text, std::string_view what) {
  if (const auto offset = FirstInvalidUtf8(text)) {
    return FaultStatus(
        Fault::kInvalidUtf8,
        fmt::format("{} is not UTF-8 at byte {}", what, *offset));
  }
  return absl::OkStatus();
}

}  // namespace

HeaderLimits HeaderLimits::ForExpert() {
  HeaderLimits limits;
  limits.metadata_keys = std::set<std::string>{"format"};
  return limits;
}

HeaderLimits HeaderLimits::ForModel() {
  HeaderLimits limits;
  limits.max_header_bytes = 100'000'000;
  limits.max_tensors = 1'000'000;
  limits.order = Order::kAny;
  return limits;
}

StatusOr<Header> ParseHeader(std::string_view prefix, uint64_t file_bytes,
                             const HeaderLimits& limits) {
  if (prefix.size() < kLengthBytes) {
    return FaultStatus(
        Fault::kTooShort,
        fmt::format("got {} bytes, wanted a safetensors file", prefix.size()));
  }
  uint64_t length = 0;
  static_assert(std::endian::native == std::endian::little);
  std::memcpy(&length, prefix.data(), kLengthBytes);
  if (length > limits.max_header_bytes) {
    return FaultStatus(Fault::kHeaderTooLarge,
                       fmt::format("got a header of {} bytes, wanted at most "
                                   "{}",
                                   length, limits.max_header_bytes));
  }
  if (length > file_bytes - kLengthBytes ||
      length > prefix.size() - kLengthBytes) {
    return FaultStatus(Fault::kHeaderPastEnd,
                       fmt::format("the header takes {} bytes, but the file "
                                   "has {}; it has been cut",
                                   length, file_bytes));
  }
  const std::string_view json = prefix.substr(kLengthBytes, length);
  if (json.empty() || json.front() != '{') {
    return FaultStatus(Fault::kHeaderStart, "the header is no JSON object");
  }
  if (!IsAscii(json)) {
    if (const auto offset = FirstInvalidUtf8(json)) {
      return FaultStatus(Fault::kInvalidUtf8,
                         fmt::format("the header is not UTF-8 at {}", *offset));
    }
  }
  ASSIGN_OR_RETURN(
      Header header,
      ParseHeaderJson(json, file_bytes - kLengthBytes - length, limits));
  header.data_begin = kLengthBytes + length;
  return header;
}

const TensorInfo* Header::Index() {
  table_.assign(std::bit_ceil(tensors.size() * 2 + 1), 0);
  const size_t mask = table_.size() - 1;
  for (size_t i = 0; i < tensors.size(); ++i) {
    size_t slot = Hash(tensors[i].name) & mask;
    while (table_[slot] != 0) {
      if (tensors[table_[slot] - 1].name == tensors[i].name) {
        return &tensors[i];
      }
      slot = (slot + 1) & mask;
    }
    table_[slot] = static_cast<uint32_t>(i + 1);
  }
  return nullptr;
}

const TensorInfo* Header::Find(std::string_view name) const {
  if (table_.empty()) {
    return nullptr;
  }
  const size_t mask = table_.size() - 1;
  for (size_t slot = Hash(name) & mask; table_[slot] != 0;
       slot = (slot + 1) & mask) {
    const TensorInfo& tensor = tensors[table_[slot] - 1];
    if (tensor.name == name) {
      return &tensor;
    }
  }
  return nullptr;
}

StatusOr<uint64_t> TensorBytes(const TensorSpec& tensor) {
  const auto elements = tensor.shape.Elements();
  int64_t bytes = 0;
  if (!elements ||
      __builtin_mul_overflow(
          *elements, static_cast<int64_t>(DTypeSize(tensor.dtype)), &bytes)) {
    return FaultStatus(Fault::kSizeOverflow,
                       fmt::format("{}: shape {} is negative or too large",
                                   tensor.name, tensor.shape.ToString()));
  }
  return static_cast<uint64_t>(bytes);
}

StatusOr<std::string> SerializeHeader(
    const std::vector<TensorSpec>& tensors,
    const std::map<std::string, std::string>& metadata) {
  std::string json = "{";
  if (!metadata.empty()) {
    json += "\"__metadata__\":{";
    for (const auto& [key, value] : metadata) {
      RETURN_IF_ERROR(CheckText(key, "a metadata key"));
      RETURN_IF_ERROR(CheckText(value, "a metadata value"));
      if (json.back() != '{') {
        json.push_back(',');
      }
      AppendString(key, &json);
      json.push_back(':');
      AppendString(value, &json);
    }
    json.push_back('}');
  }
  std::unordered_set<std::string_view> names = {"__metadata__"};
  uint64_t at = 0;
  for (const TensorSpec& tensor : tensors) {
    RETURN_IF_ERROR(CheckText(tensor.name, "a tensor's name"));
    if (tensor.name.empty()) {
      return FaultStatus(Fault::kEmptyName, "a tensor has an empty name");
    }
    if (!names.insert(tensor.name).second) {
      return FaultStatus(
          Fault::kDuplicateKey,
          fmt::format("tensor \"{}\" is declared twice or reserved",
                      tensor.name));
    }
    ASSIGN_OR_RETURN(const uint64_t bytes, TensorBytes(tensor));
    if (bytes > (1ull << 63) - 1 - at) {
      return FaultStatus(Fault::kSizeOverflow, "the tensors are too large");
    }
    if (json.back() != '{') {
      json.push_back(',');
    }
    AppendString(tensor.name, &json);
    json +=
        fmt::format(":{{\"dtype\":\"{}\",\"shape\":[", DTypeName(tensor.dtype));
    for (size_t i = 0; i < tensor.shape.size(); ++i) {
      json += fmt::format("{}{}", i == 0 ? "" : ",", tensor.shape[i]);
    }
    json += fmt::format("],\"data_offsets\":[{},{}]}}", at, at + bytes);
    at += bytes;
  }
  json.push_back('}');
  json.resize((json.size() + 7) / 8 * 8, ' ');
  const uint64_t length = json.size();
  std::string header(8, '\0');
  std::memcpy(header.data(), &length, 8);
  return header + json;
}

}  // namespace tributary::safetensors

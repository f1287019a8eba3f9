#include "common/safetensors/header_parse.h"

#include <algorithm>

#include "common/safetensors/json_scanner.h"
#include "common/safetensors/usual_entry.h"

namespace tributary::safetensors {
namespace {

using Kind = JsonScanner::Kind;

// Parses the JSON object into a Header. Methods return false after an error.
class Parser {
 public:
  Parser(std::string_view json, uint64_t data_bytes, const HeaderLimits& limits)
      : json_(json), scanner_(json), data_bytes_(data_bytes), limits_(limits) {
    constexpr size_t kUsualEntryBytes = 96;
    header_.tensors.reserve(
        std::min(limits.max_tensors, json.size() / kUsualEntryBytes));
  }

  StatusOr<Header> Parse() {
    if (!Object() || !scanner_.End() || !CheckOffsets() || !BuildTable()) {
      return scanner_.status();
    }
    return std::move(header_);
  }

 private:
  bool Fail(Fault fault, const std::string& message) {
    return scanner_.Fail(fault, message);
  }

  bool Key(std::string_view* key) {
    if (!scanner_.String(key)) {
      return false;
    }
    return key->size() <= limits_.max_key_bytes ||
           Fail(Fault::kKeyTooLong,
                fmt::format("got a key of {} bytes, wanted at most {}",
                            key->size(), limits_.max_key_bytes));
  }

  bool Object() {
    if (!scanner_.Expect('{')) {
      return false;
    }
    if (scanner_.Accept('}')) {
      return true;
    }
    do {
      if (UsualEntry()) {
        continue;
      }
      std::string_view key;
      if (!Key(&key)) {
        return false;
      }
      if (key == "__metadata__") {
        if (has_metadata_) {
          return Fail(Fault::kDuplicateKey, "__metadata__ occurs twice");
        }
        has_metadata_ = true;
        if (!scanner_.Expect(':') || !Metadata()) {
          return false;
        }
        continue;
      }
      if (key.empty()) {
        return Fail(Fault::kEmptyName, "a tensor has an empty name");
      }
      if (header_.tensors.size() == limits_.max_tensors) {
        return Fail(
            Fault::kTooManyTensors,
            fmt::format("wanted at most {} tensors", limits_.max_tensors));
      }
      header_.tensors.emplace_back().name = key;
      if (!scanner_.Expect(':') || !Tensor(&header_.tensors.back())) {
        return false;
      }
    } while (scanner_.Accept(','));
    return scanner_.Expect('}');
  }

  // The spelling that every known writer uses, several times as fast; false,
  // with nothing consumed, for any other.
  bool UsualEntry() {
    if (header_.tensors.size() == limits_.max_tensors) {
      return false;
    }
    const size_t end =
        ParseUsualEntry(json_, scanner_.position(), limits_.max_key_bytes,
                        &header_.tensors.emplace_back());
    if (end == 0) {
      header_.tensors.pop_back();
      return false;
    }
    scanner_.Rewind(end);
    return true;
  }

  bool Metadata() {
    if (scanner_.Peek() != Kind::kObject) {
      return Fail(Fault::kMetadataNotStrings, "__metadata__ is not an object");
    }
    scanner_.Expect('{');
    if (scanner_.Accept('}')) {
      return true;
    }
    do {
      std::string_view view;
      if (!Key(&view)) {
        return false;
      }
      const std::string key(view);
      if (limits_.metadata_keys && !limits_.metadata_keys->contains(key)) {
        return Fail(Fault::kMetadataKeyRefused,
                    fmt::format("__metadata__ has the key \"{}\", wanted only "
                                "keys that the format knows; remove it",
                                key));
      }
      if (!scanner_.Expect(':')) {
        return false;
      }
      if (scanner_.Peek() != Kind::kString) {
        return Fail(
            Fault::kMetadataNotStrings,
            fmt::format("the metadata value of \"{}\" is not a string", key));
      }
      if (!scanner_.String(&view)) {
        return false;
      }
      if (!header_.metadata.emplace(key, view).second) {
        return Fail(Fault::kDuplicateKey,
                    fmt::format("metadata key \"{}\" occurs twice", key));
      }
    } while (scanner_.Accept(','));
    return scanner_.Expect('}');
  }

  // {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}
  bool Tensor(TensorInfo* tensor) {
    if (scanner_.Peek() != Kind::kObject) {
      return Fail(Fault::kWrongType,
                  fmt::format("{}: is not an object", tensor->name));
    }
    scanner_.Expect('{');
    bool dtype = false;
    bool shape = false;
    bool offsets = false;
    if (!scanner_.Accept('}')) {
      do {
        std::string_view field;
        if (!Key(&field)) {
          return false;
        }
        bool* seen = field == "dtype"          ? &dtype
                     : field == "shape"        ? &shape
                     : field == "data_offsets" ? &offsets
                                               : nullptr;
        if (seen == nullptr) {
          return Fail(Fault::kUnknownField,
                      fmt::format("{}: field \"{}\", wanted dtype, shape and "
                                  "data_offsets",
                                  tensor->name, field));
        }
        if (*seen) {
          return Fail(Fault::kDuplicateKey,
                      fmt::format("{}: {} occurs twice", tensor->name, field));
        }
        *seen = true;
        if (!scanner_.Expect(':') ||
            !(seen == &dtype   ? DTypeField(tensor)
              : seen == &shape ? ShapeField(tensor)
                               : OffsetsField(tensor))) {
          return false;
        }
      } while (scanner_.Accept(','));
      if (!scanner_.Expect('}')) {
        return false;
      }
    }
    if (!dtype || !shape || !offsets) {
      return Fail(Fault::kMissingField,
                  fmt::format("{}: {} is missing", tensor->name,
                              !dtype   ? "dtype"
                              : !shape ? "shape"
                                       : "data_offsets"));
    }
    return CheckSize(*tensor);
  }

  bool DTypeField(TensorInfo* tensor) {
    std::string_view name;
    if (scanner_.Peek() != Kind::kString) {
      return scanner_.FailKind("a dtype");
    }
    if (!scanner_.String(&name)) {
      return false;
    }
    const auto dtype = ParseDType(name);
    if (!dtype) {
      return Fail(Fault::kUnknownDType,
                  fmt::format("{}: got dtype \"{}\"", tensor->name, name));
    }
    tensor->dtype = *dtype;
    return true;
  }

  bool OpenArray(std::string_view what) {
    return scanner_.Peek() == Kind::kArray
               ? scanner_.Expect('[')
               : Fail(Fault::kWrongType, fmt::format("{} is no array", what));
  }

  bool ShapeField(TensorInfo* tensor) {
    if (!OpenArray("shape")) {
      return false;
    }
    if (scanner_.Accept(']')) {
      return true;
    }
    do {
      uint64_t size = 0;
      if (!scanner_.Unsigned(&size)) {
        return false;
      }
      if (!tensor->shape.push_back(static_cast<int64_t>(size))) {
        return Fail(Fault::kRankTooLarge,
                    fmt::format("{}: wanted at most {} dimensions",
                                tensor->name, Shape::kMaxRank));
      }
    } while (scanner_.Accept(','));
    return scanner_.Expect(']');
  }

  bool OffsetsField(TensorInfo* tensor) {
    const auto wrong = [&] {
      return Fail(
          Fault::kWrongType,
          fmt::format("{}: data_offsets are not two integers", tensor->name));
    };
    if (!OpenArray("data_offsets")) {
      return false;
    }
    if (scanner_.Accept(']')) {
      return wrong();
    }
    if (!scanner_.Unsigned(&tensor->begin)) {
      return false;
    }
    if (scanner_.Accept(']')) {
      return wrong();
    }
    if (!scanner_.Expect(',') || !scanner_.Unsigned(&tensor->end)) {
      return false;
    }
    return scanner_.Accept(',') ? wrong() : scanner_.Expect(']');
  }

  bool CheckSize(const TensorInfo& tensor) {
    if (tensor.end < tensor.begin) {
      return Fail(Fault::kOffsetsReversed,
                  fmt::format("{}: data_offsets [{}, {}]", tensor.name,
                              tensor.begin, tensor.end));
    }
    const auto elements = tensor.shape.Elements();
    int64_t bytes = 0;
    if (!elements ||
        __builtin_mul_overflow(
            *elements, static_cast<int64_t>(DTypeSize(tensor.dtype)), &bytes)) {
      return Fail(Fault::kSizeOverflow,
                  fmt::format("{}: shape {} is too large", tensor.name,
                              tensor.shape.ToString()));
    }
    if (static_cast<uint64_t>(bytes) != tensor.bytes()) {
      return Fail(Fault::kSizeMismatch,
                  fmt::format("{}: {} {} takes {} bytes, but data_offsets "
                              "[{}, {}] hold {}",
                              tensor.name, DTypeName(tensor.dtype),
                              tensor.shape.ToString(), bytes, tensor.begin,
                              tensor.end, tensor.bytes()));
    }
    return true;
  }

  // Whether each tensor, as listed, begins where the one before ends.
  bool Contiguous() const {
    uint64_t at = 0;
    for (const TensorInfo& tensor : header_.tensors) {
      if (tensor.begin != at) {
        return false;
      }
      at = tensor.end;
    }
    return true;
  }

  // Data must follow one another from 0 to the end of the file.
  bool CheckOffsets() {
    const auto before = [](const TensorInfo& a, const TensorInfo& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    };
    if (!Contiguous() && !std::is_sorted(header_.tensors.begin(),
                                         header_.tensors.end(), before)) {
      if (limits_.order == HeaderLimits::Order::kAsStored) {
        return Fail(Fault::kOffsetsUnsorted,
                    "the header lists tensors in another order than the data; "
                    "write them in the same order");
      }
      std::stable_sort(header_.tensors.begin(), header_.tensors.end(), before);
    }
    uint64_t at = 0;
    for (const TensorInfo& tensor : header_.tensors) {
      if (tensor.begin != at) {
        return Fail(Fault::kOffsetsGap,
                    fmt::format("{}: begins at {}, wanted {}", tensor.name,
                                tensor.begin, at));
      }
      at = tensor.end;
    }
    if (at > data_bytes_) {
      return Fail(Fault::kDataPastEnd,
                  fmt::format("tensors take {} bytes, but only {} are in the "
                              "file; it has been cut",
                              at, data_bytes_));
    }
    return at == data_bytes_ ||
           Fail(Fault::kTrailingBytes,
                fmt::format("tensors take {} bytes, but {} are in the file", at,
                            data_bytes_));
  }

  bool BuildTable() {
    if (const TensorInfo* twice = header_.Index()) {
      return Fail(Fault::kDuplicateKey,
                  fmt::format("tensor \"{}\" occurs twice", twice->name));
    }
    return true;
  }

  const std::string_view json_;
  JsonScanner scanner_;
  const uint64_t data_bytes_;
  const HeaderLimits& limits_;
  Header header_;
  bool has_metadata_ = false;
};

}  // namespace

StatusOr<Header> ParseHeaderJson(std::string_view json, uint64_t data_bytes,
                                 const HeaderLimits& limits) {
  return Parser(json, data_bytes, limits).Parse();
}

}  // namespace tributary::safetensors

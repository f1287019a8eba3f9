#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::safetensors {

// What can be wrong with a file.
enum class Fault {
  kTooShort,            // not even the 8 bytes of the header's length
  kHeaderTooLarge,      // longer than HeaderLimits::max_header_bytes
  kHeaderPastEnd,       // longer than the file
  kHeaderStart,         // does not start with '{'
  kInvalidUtf8,         // not valid UTF-8
  kInvalidJson,         // not JSON
  kDuplicateKey,        // two equal keys in one object, also after unescaping
  kTooDeep,             // an object or array where a plain value is wanted
  kKeyTooLong,          // a key longer than HeaderLimits::max_key_bytes
  kEmptyName,           // a tensor without a name
  kTooManyTensors,      // more than HeaderLimits::max_tensors
  kUnknownField,        // a tensor has a field other than the three
  kMissingField,        // a tensor lacks dtype, shape or data_offsets
  kWrongType,           // a value of another JSON type than wanted
  kUnknownDType,        // a dtype that is not in dtype.h
  kBadNumber,           // negative, fractional or too large
  kRankTooLarge,        // more dimensions than Shape::kMaxRank
  kSizeOverflow,        // the product of the shape does not fit
  kSizeMismatch,        // data_offsets disagree with dtype and shape
  kOffsetsReversed,     // data_offsets end before they begin
  kOffsetsUnsorted,     // listed in another order than the data
  kOffsetsGap,          // a gap or an overlap between tensors
  kDataPastEnd,         // data reach beyond the end of the file
  kTrailingBytes,       // bytes behind the last tensor
  kMetadataNotStrings,  // __metadata__ is not an object of strings
  kMetadataKeyRefused,  // a metadata key outside the allow-list
};

// A fault's name as messages begin with it: "DUPLICATE_KEY".
std::string_view FaultName(Fault fault);

// The fault that `status` reports, or nothing for errors of another kind.
std::optional<Fault> FaultOf(const Status& status);

// INVALID_ARGUMENT "NAME: message" that FaultOf recognises.
Status FaultStatus(Fault fault, const std::string& message);

// The same error, fault included, with "context: " in front of its message.
Status AnnotateFault(const Status& status, const std::string& context);

}  // namespace tributary::safetensors

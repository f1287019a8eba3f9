#include "common/safetensors/fault.h"

#include <array>
#include <string>

namespace tributary::safetensors {
namespace {

// In the order of the enum.
constexpr std::array<std::string_view, 26> kNames = {
    "TOO_SHORT",
    "HEADER_TOO_LARGE",
    "HEADER_PAST_END",
    "HEADER_START",
    "INVALID_UTF8",
    "INVALID_JSON",
    "DUPLICATE_KEY",
    "TOO_DEEP",
    "KEY_TOO_LONG",
    "EMPTY_NAME",
    "TOO_MANY_TENSORS",
    "UNKNOWN_FIELD",
    "MISSING_FIELD",
    "WRONG_TYPE",
    "UNKNOWN_DTYPE",
    "BAD_NUMBER",
    "RANK_TOO_LARGE",
    "SIZE_OVERFLOW",
    "SIZE_MISMATCH",
    "OFFSETS_REVERSED",
    "OFFSETS_UNSORTED",
    "OFFSETS_GAP",
    "DATA_PAST_END",
    "TRAILING_BYTES",
    "METADATA_NOT_STRINGS",
    "METADATA_KEY_REFUSED",
};
static_assert(kNames.size() ==
              static_cast<size_t>(Fault::kMetadataKeyRefused) + 1);

constexpr char kPayloadUrl[] = "tributary/safetensors.Fault";

}  // namespace

std::string_view FaultName(Fault fault) {
  return kNames[static_cast<size_t>(fault)];
}

Status FaultStatus(Fault fault, const std::string& message) {
  Status status = InvalidArgument("{}: {}", FaultName(fault), message);
  status.SetPayload(kPayloadUrl, absl::Cord(std::string(FaultName(fault))));
  return status;
}

Status AnnotateFault(const Status& status, const std::string& context) {
  Status annotated = Annotate(status, context);
  if (const auto payload = status.GetPayload(kPayloadUrl)) {
    annotated.SetPayload(kPayloadUrl, *payload);
  }
  return annotated;
}

std::optional<Fault> FaultOf(const Status& status) {
  const auto payload = status.GetPayload(kPayloadUrl);
  if (!payload) {
    return std::nullopt;
  }
  const std::string name(*payload);
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) {
      return static_cast<Fault>(i);
    }
  }
  return std::nullopt;
}

}  // namespace tributary::safetensors

// The header of a safetensors file, as of an expert and as of a model.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "common/safetensors/header.h"

namespace tributary::safetensors {
namespace {

void Check(bool condition) {
  if (!condition) {
    std::abort();
  }
}

void Parse(std::string_view bytes, const HeaderLimits& limits) {
  const StatusOr<Header> header = ParseHeader(bytes, bytes.size(), limits);
  if (!header.ok()) {
    Check(absl::IsInvalidArgument(header.status()));
    return;
  }
  // What is accepted fills the file without a gap.
  uint64_t end = header->data_begin;
  for (const TensorInfo& tensor : header->tensors) {
    Check(header->Find(tensor.name) == &tensor);
    Check(tensor.begin <= tensor.end);
    end += tensor.bytes();
  }
  Check(end == bytes.size());
}

}  // namespace
}  // namespace tributary::safetensors

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using tributary::safetensors::HeaderLimits;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  tributary::safetensors::Parse(bytes, HeaderLimits::ForExpert());
  tributary::safetensors::Parse(bytes, HeaderLimits::ForModel());
  return 0;
}

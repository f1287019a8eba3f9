// tokenizer.json of an anchor, then text through it: the first line of the
// input is the text, the rest the file.

#include <cstdint>
#include <string>
#include <string_view>

#include "common/tokenizer/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const size_t line = bytes.find('\n');
  if (line == bytes.npos || line > 4096) {
    return 0;
  }
  const auto tokenizer =
      tributary::tokenizer::Tokenizer::FromJson(bytes.substr(line + 1));
  if (tokenizer.ok()) {
    const auto ids = (*tokenizer)->Encode(std::string(bytes.substr(0, line)));
    if (ids.ok()) {
      (*tokenizer)->Decode(*ids).status().IgnoreError();
    }
  }
  return 0;
}

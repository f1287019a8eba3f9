#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/status.h"
#include "common/safetensors/fault.h"

namespace tributary::safetensors {

// Walks over JSON text that is known to be UTF-8. Methods return false after an
// error, which status() then holds; nothing may be called after that.
class JsonScanner {
 public:
  explicit JsonScanner(std::string_view text) : text_(text) {}

  // What value comes next, judged by its first character.
  enum class Kind { kObject, kArray, kString, kNumber, kLiteral, kOther };
  Kind Peek();

  // Consumes `c`, after whitespace.
  bool Expect(char c);
  // Consumes `c` when it comes next.
  bool Accept(char c);
  // Consumes a string and gives its unescaped value, which is a view into the
  // text or into a buffer that the next call overwrites.
  bool String(std::string_view* value);
  // Consumes an integer from 0 to 2^63 - 1; kBadNumber for other numbers.
  bool Unsigned(uint64_t* value);
  // Only whitespace may be left.
  bool End();

  // For a caller that reads parts of the text itself.
  size_t position() const { return at_; }
  void Rewind(size_t position) { at_ = position; }

  // Sets the error unless there is one; always false.
  bool Fail(Fault fault, const std::string& message);
  // Fails because `what` should come next but a value of another kind does.
  bool FailKind(std::string_view what);

  const Status& status() const { return status_; }

 private:
  void SkipSpace();
  bool EscapedString(size_t begin, std::string_view* value);
  bool Escape();
  bool Hex4(uint32_t* value);

  const std::string_view text_;
  size_t at_ = 0;
  std::string buffer_;
  Status status_;
};

}  // namespace tributary::safetensors

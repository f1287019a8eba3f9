#include "common/safetensors/json_scanner.h"

#include <cstring>
#include <limits>

namespace tributary::safetensors {
namespace {

void AppendUtf8(uint32_t code, std::string* out) {
  if (code < 0x80) {
    out->push_back(static_cast<char>(code));
  } else if (code < 0x800) {
    out->push_back(static_cast<char>(0xc0 | code >> 6));
    out->push_back(static_cast<char>(0x80 | (code & 0x3f)));
  } else if (code < 0x10000) {
    out->push_back(static_cast<char>(0xe0 | code >> 12));
    out->push_back(static_cast<char>(0x80 | (code >> 6 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (code & 0x3f)));
  } else {
    out->push_back(static_cast<char>(0xf0 | code >> 18));
    out->push_back(static_cast<char>(0x80 | (code >> 12 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (code >> 6 & 0x3f)));
    out->push_back(static_cast<char>(0x80 | (code & 0x3f)));
  }
}

// Whether one of eight bytes is a quote, a backslash or a control character.
bool HasStringEnd(const char* at) {
  constexpr uint64_t kOnes = 0x0101010101010101;
  constexpr uint64_t kHighs = 0x8080808080808080;
  uint64_t word = 0;
  std::memcpy(&word, at, 8);
  // (x - 1) & ~x has the high bit of a byte set where, at the latest, x is 0.
  const auto has_zero = [](uint64_t x) { return (x - kOnes) & ~x & kHighs; };
  return (has_zero(word ^ kOnes * '"') | has_zero(word ^ kOnes * '\\') |
          ((word - kOnes * 0x20) & ~word & kHighs)) != 0;
}

}  // namespace

void JsonScanner::SkipSpace() {
  while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' ||
                                text_[at_] == '\r' || text_[at_] == '\t')) {
    ++at_;
  }
}

JsonScanner::Kind JsonScanner::Peek() {
  SkipSpace();
  const char c = at_ < text_.size() ? text_[at_] : '\0';
  switch (c) {
    case '{':
      return Kind::kObject;
    case '[':
      return Kind::kArray;
    case '"':
      return Kind::kString;
    case 't':
    case 'f':
    case 'n':
      return Kind::kLiteral;
    default:
      return c == '-' || (c >= '0' && c <= '9') ? Kind::kNumber : Kind::kOther;
  }
}

bool JsonScanner::Expect(char c) {
  if (Accept(c)) {
    return true;
  }
  return at_ >= text_.size()
             ? Fail(Fault::kInvalidJson,
                    fmt::format("got the end of the header, wanted '{}'", c))
             : Fail(
                   Fault::kInvalidJson,
                   fmt::format("got byte 0x{:02x} at {}, wanted '{}'",
                               static_cast<unsigned char>(text_[at_]), at_, c));
}

bool JsonScanner::Accept(char c) {
  if (at_ >= text_.size() || text_[at_] != c) {
    SkipSpace();
    if (at_ >= text_.size() || text_[at_] != c) {
      return false;
    }
  }
  ++at_;
  return true;
}

bool JsonScanner::String(std::string_view* value) {
  if (!Expect('"')) {
    return false;
  }
  const size_t begin = at_;
  while (at_ + 8 <= text_.size() && !HasStringEnd(text_.data() + at_)) {
    at_ += 8;
  }
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '"') {
      *value = text_.substr(begin, at_ - begin);
      ++at_;
      return true;
    }
    if (c == '\\') {
      return EscapedString(begin, value);
    }
    if (static_cast<unsigned char>(c) < 0x20) {
      return Fail(Fault::kInvalidJson,
                  fmt::format("control character in a string at {}", at_));
    }
    ++at_;
  }
  return Fail(Fault::kInvalidJson, "a string does not end");
}

bool JsonScanner::EscapedString(size_t begin, std::string_view* value) {
  buffer_.assign(text_.substr(begin, at_ - begin));
  while (at_ < text_.size()) {
    const char c = text_[at_++];
    if (c == '"') {
      *value = buffer_;
      return true;
    }
    if (static_cast<unsigned char>(c) < 0x20) {
      return Fail(Fault::kInvalidJson,
                  fmt::format("control character in a string at {}", at_ - 1));
    }
    if (c != '\\') {
      buffer_.push_back(c);
    } else if (!Escape()) {
      return false;
    }
  }
  return Fail(Fault::kInvalidJson, "a string does not end");
}

bool JsonScanner::Escape() {
  const char c = at_ < text_.size() ? text_[at_++] : '\0';
  switch (c) {
    case '"':
    case '\\':
    case '/':
      buffer_.push_back(c);
      return true;
    case 'b':
      buffer_.push_back('\b');
      return true;
    case 'f':
      buffer_.push_back('\f');
      return true;
    case 'n':
      buffer_.push_back('\n');
      return true;
    case 'r':
      buffer_.push_back('\r');
      return true;
    case 't':
      buffer_.push_back('\t');
      return true;
    case 'u':
      break;
    default:
      return Fail(Fault::kInvalidJson,
                  fmt::format("unknown escape in a string at {}", at_));
  }
  uint32_t code = 0;
  if (!Hex4(&code)) {
    return false;
  }
  if (code >= 0xd800 && code < 0xdc00 && text_.substr(at_, 2) == "\\u") {
    uint32_t low = 0;
    at_ += 2;
    if (!Hex4(&low)) {
      return false;
    }
    if (low >= 0xdc00 && low < 0xe000) {
      code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
  }
  if (code >= 0xd800 && code < 0xe000) {
    return Fail(Fault::kInvalidJson,
                fmt::format("lone surrogate in a string at {}", at_));
  }
  AppendUtf8(code, &buffer_);
  return true;
}

bool JsonScanner::Hex4(uint32_t* value) {
  *value = 0;
  for (int i = 0; i < 4; ++i) {
    const char c = at_ < text_.size() ? text_[at_++] : '\0';
    uint32_t digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<uint32_t>(c - '0');
    } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
      digit = static_cast<uint32_t>((c | 0x20) - 'a' + 10);
    } else {
      return Fail(Fault::kInvalidJson,
                  fmt::format("bad \\u escape in a string at {}", at_));
    }
    *value = *value << 4 | digit;
  }
  return true;
}

bool JsonScanner::Unsigned(uint64_t* value) {
  SkipSpace();
  const size_t begin = at_;
  uint64_t result = 0;
  constexpr uint64_t kMax = std::numeric_limits<int64_t>::max();
  bool too_large = false;
  while (at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
    const uint64_t digit = static_cast<uint64_t>(text_[at_] - '0');
    too_large |= result > (kMax - digit) / 10;
    result = too_large ? 0 : result * 10 + digit;
    ++at_;
  }
  const char next = at_ < text_.size() ? text_[at_] : '\0';
  if (next == '-' || next == '.' || next == 'e' || next == 'E' || too_large) {
    return Fail(Fault::kBadNumber,
                fmt::format("the number at {} is negative, fractional or "
                            "larger than 2^63 - 1",
                            begin));
  }
  if (at_ == begin) {
    return FailKind("an integer");
  }
  if (text_[begin] == '0' && at_ - begin > 1) {
    return Fail(Fault::kInvalidJson,
                fmt::format("a number with a leading zero at {}", begin));
  }
  *value = result;
  return true;
}

bool JsonScanner::End() {
  SkipSpace();
  return at_ == text_.size() ||
         Fail(Fault::kInvalidJson,
              fmt::format("text behind the object at {}", at_));
}

bool JsonScanner::Fail(Fault fault, const std::string& message) {
  if (status_.ok()) {
    status_ = FaultStatus(fault, message);
  }
  return false;
}

bool JsonScanner::FailKind(std::string_view what) {
  switch (Peek()) {
    case Kind::kObject:
    case Kind::kArray:
      return Fail(Fault::kTooDeep,
                  fmt::format("nested value at {}, wanted {}", at_, what));
    case Kind::kOther:
      return Fail(Fault::kInvalidJson,
                  fmt::format("got no JSON value at {}, wanted {}", at_, what));
    default:
      return Fail(
          Fault::kWrongType,
          fmt::format("value of another type at {}, wanted {}", at_, what));
  }
}

}  // namespace tributary::safetensors

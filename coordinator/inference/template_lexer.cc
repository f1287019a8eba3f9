#include "coordinator/inference/template_lexer.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace tributary::coordinator {
namespace {

constexpr std::string_view kSpace = " \t\r\n";
constexpr int64_t kMaxInteger = 1'000'000'000;

bool IsNameCharacter(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_';
}

// The text that a quoted literal stands for; `at` is behind its first quote
// and is left behind its last.
StatusOr<std::string> ReadLiteral(std::string_view code, char quote,
                                  size_t* at) {
  std::string text;
  for (; *at < code.size(); ++*at) {
    char c = code[*at];
    if (c == quote) {
      ++*at;
      return text;
    }
    if (c == '\\' && *at + 1 < code.size()) {
      c = code[++*at];
      switch (c) {
        case 'n':
          c = '\n';
          break;
        case 't':
          c = '\t';
          break;
        case 'r':
          c = '\r';
          break;
        case '\\':
        case '\'':
        case '"':
          break;
        default:
          return Unimplemented("chat template: escape \\{} in a text", c);
      }
    }
    text += c;
  }
  return InvalidArgument("chat template: a text has no closing {}", quote);
}

StatusOr<TemplateToken> ReadToken(std::string_view code, size_t* at) {
  using Kind = TemplateToken::Kind;
  const char c = code[*at];
  if (c == '"' || c == '\'') {
    ++*at;
    ASSIGN_OR_RETURN(std::string text, ReadLiteral(code, c, at));
    return TemplateToken{.kind = Kind::kText, .text = std::move(text)};
  }
  if (std::isdigit(static_cast<unsigned char>(c)) != 0) {
    TemplateToken token{.kind = Kind::kInteger};
    for (; *at < code.size() &&
           std::isdigit(static_cast<unsigned char>(code[*at])) != 0;
         ++*at) {
      token.integer = token.integer * 10 + (code[*at] - '0');
      if (token.integer > kMaxInteger) {
        return InvalidArgument("chat template: a number above {}", kMaxInteger);
      }
    }
    return token;
  }
  if (IsNameCharacter(c)) {
    const size_t begin = *at;
    while (*at < code.size() && IsNameCharacter(code[*at])) {
      ++*at;
    }
    return TemplateToken{.kind = Kind::kName,
                         .text = std::string(code.substr(begin, *at - begin))};
  }
  for (const std::string_view symbol : {"==", "!=", "<=", ">="}) {
    if (code.substr(*at).starts_with(symbol)) {
      *at += symbol.size();
      return TemplateToken{.kind = Kind::kSymbol, .text = std::string(symbol)};
    }
  }
  if (std::string_view("()[].,:|+-~%<>=").find(c) != std::string_view::npos) {
    ++*at;
    return TemplateToken{.kind = Kind::kSymbol, .text = std::string(1, c)};
  }
  return Unimplemented("chat template: '{}' in an expression", c);
}

// The position of `close` behind `from`, outside quoted texts.
size_t FindClose(std::string_view source, size_t from, std::string_view close) {
  char quote = 0;
  for (size_t i = from; i < source.size(); ++i) {
    if (quote != 0) {
      if (source[i] == '\\') {
        ++i;
      } else if (source[i] == quote) {
        quote = 0;
      }
    } else if (source.substr(i).starts_with(close)) {
      return i;
    } else if (source[i] == '"' || source[i] == '\'') {
      quote = source[i];
    }
  }
  return std::string_view::npos;
}

void TrimRight(std::string& text, std::string_view what) {
  const size_t last = text.find_last_not_of(what);
  text.resize(last == std::string::npos ? 0 : last + 1);
}

// Takes spaces and tabs off the end when nothing else stands on their line.
void TrimLineStart(std::string& text, bool at_start) {
  const size_t last = text.find_last_not_of(" \t");
  if (last == std::string::npos ? at_start : text[last] == '\n') {
    text.resize(last == std::string::npos ? 0 : last + 1);
  }
}

}  // namespace

StatusOr<std::vector<TemplateChunk>> CutTemplate(std::string_view source) {
  using Kind = TemplateChunk::Kind;
  std::vector<TemplateChunk> chunks;
  size_t at = 0;
  bool trim_newline = false;
  bool trim_all = false;
  while (true) {
    size_t open = at;
    while (open < source.size() &&
           !(source[open] == '{' && open + 1 < source.size() &&
             std::string_view("{%#").find(source[open + 1]) !=
                 std::string_view::npos)) {
      ++open;
    }
    std::string text(source.substr(at, open - at));
    if (trim_all) {
      text.erase(0, std::min(text.find_first_not_of(kSpace), text.size()));
    } else if (trim_newline && text.starts_with('\n')) {
      text.erase(0, 1);
    }
    const bool ends = open >= source.size();
    const char kind = ends ? '\0' : source[open + 1];
    const bool dash =
        !ends && open + 2 < source.size() && source[open + 2] == '-';
    if (dash) {
      TrimRight(text, kSpace);
    } else if (kind == '%' || kind == '#') {
      TrimLineStart(text, at == 0);
    }
    if (!text.empty()) {
      chunks.push_back({.kind = Kind::kText, .text = std::move(text)});
    }
    if (ends) {
      return chunks;
    }
    const std::array<char, 2> close = {kind == '{' ? '}' : kind, '}'};
    const std::string_view closing(close.data(), close.size());
    const size_t begin = open + (dash ? 3 : 2);
    const size_t end = kind == '#' ? source.find(closing, begin)
                                   : FindClose(source, begin, closing);
    if (end == std::string_view::npos) {
      return InvalidArgument("chat template: {{{} at byte {} has no end", kind,
                             open);
    }
    trim_all = end > begin && source[end - 1] == '-';
    trim_newline = kind != '{';
    at = end + 2;
    if (kind == '#') {
      continue;
    }
    const std::string_view code =
        source.substr(begin, end - begin - (trim_all ? 1 : 0));
    TemplateChunk chunk{.kind = kind == '{' ? Kind::kOutput : Kind::kStatement};
    for (size_t i = 0; i < code.size();) {
      if (kSpace.find(code[i]) != std::string_view::npos) {
        ++i;
        continue;
      }
      ASSIGN_OR_RETURN(TemplateToken token, ReadToken(code, &i));
      chunk.tokens.push_back(std::move(token));
    }
    chunk.tokens.emplace_back();
    chunks.push_back(std::move(chunk));
  }
}

}  // namespace tributary::coordinator

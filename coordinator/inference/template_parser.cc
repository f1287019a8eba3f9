#include "coordinator/inference/template_parser.h"

#include <algorithm>
#include <initializer_list>

#include "coordinator/inference/template_lexer.h"

namespace tributary::coordinator {
namespace {

using Kind = TemplateExpression::Kind;
using TokenKind = TemplateToken::Kind;

constexpr int kMaxDepth = 64;

bool IsOneOf(std::string_view text,
             std::initializer_list<std::string_view> list) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

// Reads the tokens of one chunk.
class ExpressionParser {
 public:
  explicit ExpressionParser(const std::vector<TemplateToken>& tokens)
      : tokens_(tokens) {}

  const TemplateToken& peek() const { return tokens_[at_]; }
  bool AtEnd() const { return peek().kind == TokenKind::kEnd; }
  bool Take(TokenKind kind, std::string_view text) {
    if (peek().kind != kind || peek().text != text) {
      return false;
    }
    ++at_;
    return true;
  }
  bool TakeWord(std::string_view word) { return Take(TokenKind::kName, word); }
  bool TakeSymbol(std::string_view symbol) {
    return Take(TokenKind::kSymbol, symbol);
  }
  Status Expect(std::string_view symbol) {
    return TakeSymbol(symbol) ? absl::OkStatus() : Unexpected(symbol);
  }
  Status ExpectEnd() const { return AtEnd() ? absl::OkStatus() : Unexpected(); }
  StatusOr<std::string> Name() {
    if (peek().kind != TokenKind::kName) {
      return Unexpected("a name");
    }
    return tokens_[at_++].text;
  }

  StatusOr<TemplateExpression> Expression() {
    if (++depth_ > kMaxDepth) {
      return InvalidArgument("chat template: nested more than {} deep",
                             kMaxDepth);
    }
    ASSIGN_OR_RETURN(TemplateExpression value, Level(0));
    if (TakeWord("if")) {
      ASSIGN_OR_RETURN(TemplateExpression condition, Level(0));
      TemplateExpression whole{.kind = Kind::kConditional};
      whole.parts.push_back(std::move(value));
      whole.parts.push_back(std::move(condition));
      if (TakeWord("else")) {
        ASSIGN_OR_RETURN(TemplateExpression other, Expression());
        whole.parts.push_back(std::move(other));
      }
      value = std::move(whole);
    }
    --depth_;
    return value;
  }

 private:
  Status Unexpected(std::string_view wanted = "nothing more") const {
    return Unimplemented("chat template: got '{}', wanted {}",
                         AtEnd() ? "the end" : peek().text, wanted);
  }

  static TemplateExpression Binary(std::string op, TemplateExpression left,
                                   TemplateExpression right) {
    TemplateExpression whole{.kind = Kind::kBinary, .text = std::move(op)};
    whole.parts.push_back(std::move(left));
    whole.parts.push_back(std::move(right));
    return whole;
  }
  static TemplateExpression Around(Kind kind, std::string text,
                                   TemplateExpression inner) {
    TemplateExpression whole{.kind = kind, .text = std::move(text)};
    whole.parts.push_back(std::move(inner));
    return whole;
  }

  // or, and, not, comparisons, + - ~, %, and what binds closest.
  StatusOr<TemplateExpression> Level(int level) {
    if (level == 2) {
      if (!TakeWord("not")) {
        return Comparison();
      }
      if (++depth_ > kMaxDepth) {
        return InvalidArgument("chat template: nested too deep");
      }
      ASSIGN_OR_RETURN(TemplateExpression inner, Level(2));
      --depth_;
      return Around(Kind::kNot, "", std::move(inner));
    }
    const std::string word = level == 0 ? "or" : "and";
    ASSIGN_OR_RETURN(TemplateExpression left, Level(level + 1));
    while (TakeWord(word)) {
      ASSIGN_OR_RETURN(TemplateExpression right, Level(level + 1));
      left = Binary(word, std::move(left), std::move(right));
    }
    return left;
  }

  StatusOr<TemplateExpression> Comparison() {
    ASSIGN_OR_RETURN(TemplateExpression left, Sum());
    while (true) {
      std::string op;
      if (peek().kind == TokenKind::kSymbol &&
          IsOneOf(peek().text, {"==", "!=", "<", ">", "<=", ">="})) {
        op = tokens_[at_++].text;
      } else if (TakeWord("in")) {
        op = "in";
      } else if (peek().kind == TokenKind::kName && peek().text == "not") {
        ++at_;
        if (!TakeWord("in")) {
          return Unexpected("in");
        }
        op = "not in";
      } else {
        return left;
      }
      ASSIGN_OR_RETURN(TemplateExpression right, Sum());
      left = Binary(op, std::move(left), std::move(right));
    }
  }

  StatusOr<TemplateExpression> Sum() {
    ASSIGN_OR_RETURN(TemplateExpression left, Product());
    while (peek().kind == TokenKind::kSymbol &&
           IsOneOf(peek().text, {"+", "-", "~"})) {
      const std::string op = tokens_[at_++].text;
      ASSIGN_OR_RETURN(TemplateExpression right, Product());
      left = Binary(op, std::move(left), std::move(right));
    }
    return left;
  }

  StatusOr<TemplateExpression> Product() {
    ASSIGN_OR_RETURN(TemplateExpression left, Tested());
    while (TakeSymbol("%")) {
      ASSIGN_OR_RETURN(TemplateExpression right, Tested());
      left = Binary("%", std::move(left), std::move(right));
    }
    return left;
  }

  // A value with its filters and tests.
  StatusOr<TemplateExpression> Tested() {
    ASSIGN_OR_RETURN(TemplateExpression value, Postfix());
    while (TakeSymbol("|")) {
      ASSIGN_OR_RETURN(const std::string name, Name());
      if (!IsOneOf(name, {"trim", "length", "count", "upper", "lower"})) {
        return Unimplemented("chat template: filter {}", name);
      }
      value = Around(Kind::kFilter, name, std::move(value));
    }
    if (TakeWord("is")) {
      const bool negated = TakeWord("not");
      ASSIGN_OR_RETURN(const std::string name, Name());
      if (!IsOneOf(name, {"defined", "undefined", "none", "string", "mapping",
                          "true", "false"})) {
        return Unimplemented("chat template: test {}", name);
      }
      value = Around(Kind::kTest, name, std::move(value));
      if (negated) {
        value = Around(Kind::kNot, "", std::move(value));
      }
    }
    return value;
  }

  StatusOr<TemplateExpression> Postfix() {
    if (TakeSymbol("-")) {
      ASSIGN_OR_RETURN(TemplateExpression inner, Primary());
      return Around(Kind::kNegative, "", std::move(inner));
    }
    ASSIGN_OR_RETURN(TemplateExpression value, Primary());
    while (true) {
      if (TakeSymbol(".")) {
        ASSIGN_OR_RETURN(const std::string name, Name());
        if (!TakeSymbol("(")) {
          value = Around(Kind::kAttribute, name, std::move(value));
          continue;
        }
        const bool plain = IsOneOf(name, {"strip", "lstrip", "rstrip"});
        if (!plain && !IsOneOf(name, {"startswith", "endswith"})) {
          return Unimplemented("chat template: method {}", name);
        }
        value = Around(Kind::kMethod, name, std::move(value));
        if (!plain) {
          ASSIGN_OR_RETURN(TemplateExpression argument, Expression());
          value.parts.push_back(std::move(argument));
        }
        RETURN_IF_ERROR(Expect(")"));
      } else if (TakeSymbol("[")) {
        ASSIGN_OR_RETURN(TemplateExpression index, Expression());
        const bool slice = TakeSymbol(":");
        RETURN_IF_ERROR(Expect("]"));
        value = Around(slice ? Kind::kSliceFrom : Kind::kIndex, "",
                       std::move(value));
        value.parts.push_back(std::move(index));
      } else {
        return value;
      }
    }
  }

  StatusOr<TemplateExpression> Primary() {
    const TemplateToken token = peek();
    if (TakeSymbol("(")) {
      ASSIGN_OR_RETURN(TemplateExpression inner, Expression());
      RETURN_IF_ERROR(Expect(")"));
      return inner;
    }
    if (token.kind == TokenKind::kEnd || token.kind == TokenKind::kSymbol) {
      return Unexpected("a value");
    }
    ++at_;
    if (token.kind == TokenKind::kText) {
      return TemplateExpression{.literal = token.text};
    }
    if (token.kind == TokenKind::kInteger) {
      return TemplateExpression{.literal = token.integer};
    }
    if (IsOneOf(token.text, {"true", "True", "false", "False"})) {
      return TemplateExpression{.literal =
                                    IsOneOf(token.text, {"true", "True"})};
    }
    if (IsOneOf(token.text, {"none", "None"})) {
      return TemplateExpression{.literal = nullptr};
    }
    if (!TakeSymbol("(")) {
      return TemplateExpression{.kind = Kind::kName, .text = token.text};
    }
    if (token.text != "raise_exception") {
      return Unimplemented("chat template: function {}", token.text);
    }
    ASSIGN_OR_RETURN(TemplateExpression message, Expression());
    RETURN_IF_ERROR(Expect(")"));
    return Around(Kind::kRaise, "", std::move(message));
  }

  const std::vector<TemplateToken>& tokens_;
  size_t at_ = 0;
  int depth_ = 0;
};

// Reads the chunks of a template.
class StatementParser {
 public:
  explicit StatementParser(std::vector<TemplateChunk> chunks)
      : chunks_(std::move(chunks)) {}

  StatusOr<std::vector<TemplateStatement>> All() {
    std::string end;
    ASSIGN_OR_RETURN(std::vector<TemplateStatement> all, Block({}, &end));
    return all;
  }

 private:
  // Statements up to one that begins with a word of `ends`, which is left to be
  // read and named in `end`; without `ends` up to the template's end.
  StatusOr<std::vector<TemplateStatement>> Block(
      std::initializer_list<std::string_view> ends, std::string* end) {
    if (++depth_ > kMaxDepth) {
      return InvalidArgument("chat template: nested more than {} deep",
                             kMaxDepth);
    }
    std::vector<TemplateStatement> block;
    while (at_ < chunks_.size()) {
      TemplateChunk& chunk = chunks_[at_];
      TemplateStatement statement;
      if (chunk.kind == TemplateChunk::Kind::kText) {
        statement.text = std::move(chunk.text);
        ++at_;
      } else if (chunk.kind == TemplateChunk::Kind::kOutput) {
        ExpressionParser parser(chunk.tokens);
        statement.kind = TemplateStatement::Kind::kOutput;
        ASSIGN_OR_RETURN(statement.expression, parser.Expression());
        RETURN_IF_ERROR(parser.ExpectEnd());
        ++at_;
      } else if (IsOneOf(chunk.tokens[0].text, ends)) {
        *end = chunk.tokens[0].text;
        --depth_;
        return block;
      } else {
        ASSIGN_OR_RETURN(statement, Statement());
      }
      block.push_back(std::move(statement));
    }
    if (ends.size() != 0) {
      return InvalidArgument("chat template: {} is missing", *(ends.end() - 1));
    }
    --depth_;
    return block;
  }

  StatusOr<TemplateStatement> Statement() {
    ExpressionParser parser(chunks_[at_].tokens);
    ASSIGN_OR_RETURN(const std::string word, parser.Name());
    if (word == "if") {
      return If();
    }
    if (word != "set" && word != "for") {
      return Unimplemented("chat template: statement {}", word);
    }
    const bool loop = word == "for";
    TemplateStatement statement{.kind = loop ? TemplateStatement::Kind::kFor
                                             : TemplateStatement::Kind::kSet};
    ASSIGN_OR_RETURN(statement.text, parser.Name());
    if (loop ? !parser.TakeWord("in") : !parser.TakeSymbol("=")) {
      return Unimplemented("chat template: {} of more than one name", word);
    }
    ASSIGN_OR_RETURN(statement.expression, parser.Expression());
    RETURN_IF_ERROR(parser.ExpectEnd());
    ++at_;
    if (loop) {
      std::string end;
      ASSIGN_OR_RETURN(statement.body, Block({"endfor"}, &end));
      ++at_;
    }
    return statement;
  }

  // At `if` or `elif`.
  StatusOr<TemplateStatement> If() {
    ExpressionParser parser(chunks_[at_].tokens);
    RETURN_IF_ERROR(parser.Name().status());
    TemplateStatement statement{.kind = TemplateStatement::Kind::kIf};
    ASSIGN_OR_RETURN(statement.expression, parser.Expression());
    RETURN_IF_ERROR(parser.ExpectEnd());
    ++at_;
    std::string end;
    ASSIGN_OR_RETURN(statement.body, Block({"elif", "else", "endif"}, &end));
    if (end == "elif") {
      ASSIGN_OR_RETURN(TemplateStatement next, If());
      statement.otherwise.push_back(std::move(next));
      return statement;  // it has read the endif
    }
    ++at_;
    if (end == "else") {
      ASSIGN_OR_RETURN(statement.otherwise, Block({"endif"}, &end));
      ++at_;
    }
    return statement;
  }

  std::vector<TemplateChunk> chunks_;
  size_t at_ = 0;
  int depth_ = 0;
};

}  // namespace

StatusOr<std::vector<TemplateStatement>> ParseTemplate(
    std::string_view source) {
  ASSIGN_OR_RETURN(std::vector<TemplateChunk> chunks, CutTemplate(source));
  return StatementParser(std::move(chunks)).All();
}

}  // namespace tributary::coordinator

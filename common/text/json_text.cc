#include "common/text/json_text.h"

#include <nlohmann/json.hpp>

namespace tributary::text {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 256;

// Returning false ends the parser.
class TextHandler : public nlohmann::json_sax<json> {
 public:
  TextHandler(std::string_view field, std::string* text)
      : field_(field), text_(text) {}

  JsonTextFault fault() const {
    return fault_ != JsonTextFault::kNone || found_ ? fault_
                                                    : JsonTextFault::kNoText;
  }

  bool null() override { return Other(); }
  bool boolean(bool) override { return Other(); }
  bool number_integer(number_integer_t) override { return Other(); }
  bool number_unsigned(number_unsigned_t) override { return Other(); }
  bool number_float(number_float_t, const string_t&) override {
    return Other();
  }
  bool binary(binary_t&) override { return Other(); }
  bool string(string_t& value) override {
    if (depth_ != 1 || !wanted_) {
      return Other();
    }
    text_->swap(value);
    found_ = true;
    wanted_ = false;
    return true;
  }
  bool key(string_t& name) override {
    wanted_ = depth_ == 1 && name == field_;
    return !wanted_ || !found_ || Fail(JsonTextFault::kNoText);
  }
  bool start_object(size_t) override { return Open(true); }
  bool end_object() override { return Close(); }
  bool start_array(size_t) override { return Open(false); }
  bool end_array() override { return Close(); }
  bool parse_error(size_t, const std::string&,
                   const nlohmann::detail::exception&) override {
    return Fail(JsonTextFault::kNotAnObject);
  }

 private:
  bool Fail(JsonTextFault fault) {
    fault_ = fault;
    return false;
  }
  // A value that is not the text.
  bool Other() {
    if (depth_ == 0) {
      return Fail(JsonTextFault::kNotAnObject);
    }
    return depth_ != 1 || !wanted_ || Fail(JsonTextFault::kNoText);
  }
  bool Open(bool object) {
    if ((depth_ == 0 && !object) || depth_ == kMaxDepth) {
      return Fail(JsonTextFault::kNotAnObject);
    }
    if (depth_ == 1 && wanted_) {
      return Fail(JsonTextFault::kNoText);
    }
    ++depth_;
    return true;
  }
  bool Close() {
    --depth_;
    return true;
  }

  const std::string_view field_;
  std::string* const text_;
  JsonTextFault fault_ = JsonTextFault::kNone;
  int depth_ = 0;
  bool wanted_ = false;
  bool found_ = false;
};

}  // namespace

JsonTextFault ReadJsonText(std::string_view line, std::string_view field,
                           std::string* text) {
  text->clear();
  TextHandler handler(field, text);
  if (!json::sax_parse(line, &handler) &&
      handler.fault() == JsonTextFault::kNone) {
    return JsonTextFault::kNotAnObject;
  }
  return handler.fault();
}

}  // namespace tributary::text

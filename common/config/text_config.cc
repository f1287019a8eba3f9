#include "common/config/text_config.h"

#include "common/base/files.h"
#include "common/base/text.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/text_format.h"

namespace tributary::config {
namespace {

constexpr uint64_t kMaxConfigBytes = 1 << 20;

// Keeps the first error.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (text_.empty()) {
      // The parser counts from 0 and says -1 for the end of the text.
      text_ = line < 0 ? message
                       : fmt::format("line {}, column {}: {}", line + 1,
                                     column + 1, message);
    }
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace

Status LoadTextConfig(const std::filesystem::path& path,
                      google::protobuf::Message* message) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  return ParseTextConfig(text, path.string(), message);
}

Status ParseTextConfig(std::string_view text, std::string_view file_name,
                       google::protobuf::Message* message) {
  if (const auto position = FirstInvalidUtf8(text)) {
    return InvalidArgument("{}: not UTF-8 at byte {}", file_name, *position);
  }
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  if (!parser.ParseFromString(std::string(text), message)) {
    return InvalidArgument("{}: {}", file_name, error.text());
  }
  return absl::OkStatus();
}

}  // namespace tributary::config

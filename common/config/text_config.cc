#include "common/config/text_config.h"

#include "common/base/files.h"
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
  StatusOr<std::string> text = ReadFile(path, kMaxConfigBytes);
  RETURN_IF_ERROR(text.status());
  FirstError error;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&error);
  if (!parser.ParseFromString(*text, message)) {
    return InvalidArgument("{}: {}", path.string(), error.text());
  }
  return absl::OkStatus();
}

}  // namespace tributary::config

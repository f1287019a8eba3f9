#include "common/config/commented_text.h"

#include "common/config/field_comments.h"
#include "fmt/format.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/text_format.h"

namespace tributary::config {
namespace {

namespace protobuf = ::google::protobuf;

bool IsSet(const protobuf::Message& message,
           const protobuf::FieldDescriptor* field) {
  const protobuf::Reflection* reflection = message.GetReflection();
  return field->is_repeated() ? reflection->FieldSize(message, field) > 0
                              : reflection->HasField(message, field);
}

// The value in the text format; `index` is -1 for fields that are no lists.
std::string ValueText(const protobuf::Message& message,
                      const protobuf::FieldDescriptor* field, int index) {
  std::string text;
  protobuf::TextFormat::PrintFieldValueToString(message, field, index, &text);
  return text;
}

void AppendScalar(const protobuf::Message& config,
                  const protobuf::Message& completed,
                  const protobuf::FieldDescriptor* field,
                  const std::string& indent, std::string& text) {
  const auto append = [&](std::string_view mark, const std::string& value) {
    text += fmt::format("{}{}{}: {}\n", indent, mark, field->name(), value);
  };
  if (!field->is_repeated()) {
    const bool set = IsSet(config, field);
    append(set ? "" : "# ", ValueText(set ? config : completed, field, -1));
    return;
  }
  const int size = config.GetReflection()->FieldSize(config, field);
  for (int i = 0; i < size; ++i) {
    append("", ValueText(config, field, i));
  }
  if (size == 0) {
    append("# ", "\"\"");
  }
}

void AppendMessage(const protobuf::Message& config,
                   const protobuf::Message& completed,
                   const std::string& indent, std::string& text) {
  const protobuf::Descriptor* type = config.GetDescriptor();
  for (int i = 0; i < type->field_count(); ++i) {
    const protobuf::FieldDescriptor* field = type->field(i);
    text += CommentLines(field->full_name(), indent);
    if (field->cpp_type() == protobuf::FieldDescriptor::CPPTYPE_MESSAGE) {
      text += indent + field->name() + " {\n";
      AppendMessage(config.GetReflection()->GetMessage(config, field),
                    completed.GetReflection()->GetMessage(completed, field),
                    indent + "  ", text);
      text += indent + "}\n";
    } else {
      AppendScalar(config, completed, field, indent, text);
    }
  }
}

}  // namespace

std::string CommentedText(const protobuf::Message& config,
                          const protobuf::Message& completed) {
  std::string text = CommentLines(config.GetDescriptor()->full_name(), "");
  text +=
      "# Unknown fields are errors. Lines that begin with # are comments: "
      "take\n"
      "# the mark away to set a field; the value shown is the default.\n\n";
  AppendMessage(config, completed, "", text);
  return text;
}

}  // namespace tributary::config

#include "coordinator/commands/message_json.h"

#include <cstdint>
#include <string_view>

namespace tributary::coordinator {
namespace {

namespace pb = google::protobuf;
using Json = nlohmann::json;

Json BytesJson(const std::string& bytes) {
  Json parsed = Json::parse(bytes, nullptr, false);
  return parsed.is_discarded() ? Json(std::to_string(bytes.size()) + " bytes")
                               : parsed;
}

// One value of a field; `index` is -1 for a singular field.
Json ValueJson(const pb::Message& message, const pb::FieldDescriptor& field,
               int index) {
  const pb::Reflection& reflection = *message.GetReflection();
  const bool repeated = index >= 0;
  switch (field.cpp_type()) {
    case pb::FieldDescriptor::CPPTYPE_MESSAGE:
      return MessageJson(
          repeated ? reflection.GetRepeatedMessage(message, &field, index)
                   : reflection.GetMessage(message, &field));
    case pb::FieldDescriptor::CPPTYPE_STRING: {
      const std::string text =
          repeated ? reflection.GetRepeatedString(message, &field, index)
                   : reflection.GetString(message, &field);
      return field.type() == pb::FieldDescriptor::TYPE_BYTES ? BytesJson(text)
                                                             : Json(text);
    }
    case pb::FieldDescriptor::CPPTYPE_ENUM:
      return ShortEnumName(
          (repeated ? reflection.GetRepeatedEnum(message, &field, index)
                    : reflection.GetEnum(message, &field))
              ->name());
    case pb::FieldDescriptor::CPPTYPE_INT64:
      return repeated ? reflection.GetRepeatedInt64(message, &field, index)
                      : reflection.GetInt64(message, &field);
    case pb::FieldDescriptor::CPPTYPE_INT32:
      return repeated ? reflection.GetRepeatedInt32(message, &field, index)
                      : reflection.GetInt32(message, &field);
    case pb::FieldDescriptor::CPPTYPE_UINT64:
      return repeated ? reflection.GetRepeatedUInt64(message, &field, index)
                      : reflection.GetUInt64(message, &field);
    case pb::FieldDescriptor::CPPTYPE_UINT32:
      return repeated ? reflection.GetRepeatedUInt32(message, &field, index)
                      : reflection.GetUInt32(message, &field);
    case pb::FieldDescriptor::CPPTYPE_DOUBLE:
      return repeated ? reflection.GetRepeatedDouble(message, &field, index)
                      : reflection.GetDouble(message, &field);
    case pb::FieldDescriptor::CPPTYPE_FLOAT:
      return repeated ? reflection.GetRepeatedFloat(message, &field, index)
                      : reflection.GetFloat(message, &field);
    case pb::FieldDescriptor::CPPTYPE_BOOL:
      return repeated ? reflection.GetRepeatedBool(message, &field, index)
                      : reflection.GetBool(message, &field);
  }
  return nullptr;
}

}  // namespace

std::string ShortEnumName(const std::string& name) {
  constexpr std::string_view kOutcome = "OUTCOME_";
  return name.starts_with(kOutcome) ? name.substr(kOutcome.size()) : name;
}

Json MessageJson(const pb::Message& message) {
  Json object = Json::object();
  const pb::Descriptor& descriptor = *message.GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const pb::FieldDescriptor& field = *descriptor.field(i);
    if (field.is_repeated()) {
      Json list = Json::array();
      for (int k = 0; k < message.GetReflection()->FieldSize(message, &field);
           ++k) {
        list.push_back(ValueJson(message, field, k));
      }
      object[field.name()] = std::move(list);
    } else if (!field.has_presence() ||
               message.GetReflection()->HasField(message, &field)) {
      object[field.name()] = ValueJson(message, field, -1);
    }
  }
  return object;
}

}  // namespace tributary::coordinator

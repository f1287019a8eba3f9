#pragma once

#include <string>

#include "google/protobuf/message.h"
#include "nlohmann/json.hpp"

namespace tributary::coordinator {

// A message as JSON for scripts: field names as in the proto, enum values
// without their prefix, and canonical JSON documents inside bytes fields
// (manifests, envelopes, receipts) as objects.
nlohmann::json MessageJson(const google::protobuf::Message& message);

// The name of an enum value without the prefix that protobuf style demands.
std::string ShortEnumName(const std::string& name);

}  // namespace tributary::coordinator

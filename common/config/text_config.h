#pragma once

#include <filesystem>
#include <string_view>

#include "common/base/status.h"
#include "google/protobuf/message.h"

namespace tributary::config {

// Reads a message in protobuf text format. NOT_FOUND when there is no file;
// INVALID_ARGUMENT names file, line, column and what is wrong there: a syntax
// error, an unknown field, a field given twice, a value of another type, text
// that is not UTF-8.
Status LoadTextConfig(const std::filesystem::path& path,
                      google::protobuf::Message* message);

// The same for a text; `file_name` begins every message.
Status ParseTextConfig(std::string_view text, std::string_view file_name,
                       google::protobuf::Message* message);

}  // namespace tributary::config

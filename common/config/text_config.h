#pragma once

#include <filesystem>

#include "common/base/status.h"
#include "google/protobuf/message.h"

namespace tributary::config {

// Reads a message in protobuf text format. NOT_FOUND when there is no file;
// INVALID_ARGUMENT names file, line, column and what is wrong there: a syntax
// error, an unknown field, a value of another type.
Status LoadTextConfig(const std::filesystem::path& path,
                      google::protobuf::Message* message);

}  // namespace tributary::config

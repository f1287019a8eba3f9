#pragma once

#include <string>

#include "google/protobuf/message.h"

namespace tributary::config {

// The text form of `config` with a comment on every field, for a person to
// edit. Fields that are not set stand there as comments, with the value that
// `completed` (config with its defaults, see defaults.h) has for them.
std::string CommentedText(const google::protobuf::Message& config,
                          const google::protobuf::Message& completed);

}  // namespace tributary::config

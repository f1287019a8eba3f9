#pragma once

#include <filesystem>

#include "common/base/status.h"

namespace tributary::coordinator {

// Copies the files of a Hugging Face directory that belong to its tokenizer and
// to generation, those that are there.
Status CopyTokenizerFiles(const std::filesystem::path& from,
                          const std::filesystem::path& to);

}  // namespace tributary::coordinator

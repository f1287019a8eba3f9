#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace tributary::coordinator {

// One class of public text: prose (what the anchor should keep), heldout (the
// coordinator's own evaluation text) or any other name (background).
struct PublicTextSource {
  std::string text_class;
  std::filesystem::path path;
};

// Copies a class's documents into one file of JSON lines {"text": ...}: .jsonl
// files line by line, .txt files as one document each, folders with all such
// files below in bytewise order. Returns how many there are. NOT_FOUND: no such
// path. INVALID_ARGUMENT names file and line, or the byte that is not UTF-8;
// also when there is no document.
StatusOr<int64_t> CollectPublicText(const std::filesystem::path& source,
                                    const std::filesystem::path& target);

// Classes are well-formed, not named twice, and prose and heldout are there.
Status CheckTextClasses(const std::vector<PublicTextSource>& sources);

}  // namespace tributary::coordinator

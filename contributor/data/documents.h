#pragma once

// Private text as documents. A document is the unit that is counted, split
// into training and held-out text, and never mixed with another in a window.
//   .txt    one document a file; when the whole corpus is a single .txt file,
//           its documents are separated by blank lines instead
//   .jsonl  one document a line: an object whose text field is a string
// Both may be compressed: .gz, .zst.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/status.h"

namespace tributary::contributor {

struct DocumentOptions {
  std::string text_field = "text";  // of .jsonl lines
  uint64_t max_file_bytes = 1ull << 30;
};

// The text files that `paths` stand for: files as given, folders walked in
// path order, hidden files, symbolic links and files of other kinds left out.
// NOT_FOUND when a path is not there or there is no text file in a folder,
// INVALID_ARGUMENT when a file is of another kind.
StatusOr<std::vector<std::filesystem::path>> ListTextFiles(
    const std::vector<std::filesystem::path>& paths);

// Calls `visit` with every document of `files` in order; blank ones are left
// out. INVALID_ARGUMENT names the file and the byte or line where it is not
// UTF-8 or not as described above, never its content. Errors of `visit` are
// returned.
Status ForEachDocument(const std::vector<std::filesystem::path>& files,
                       const DocumentOptions& options,
                       const std::function<Status(std::string_view)>& visit);

}  // namespace tributary::contributor

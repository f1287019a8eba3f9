#pragma once

// Which files a corpus consists of, and what their names say about them.

#include <filesystem>
#include <optional>
#include <vector>

#include "common/base/status.h"

namespace tributary::text {

struct FileKind {
  enum class Form { kText, kJsonLines } form = Form::kText;
  enum class Packing { kPlain, kGzip, kZstd } packing = Packing::kPlain;
};

// By the name: .txt or .jsonl, with .gz or .zst behind it or not. Nothing for
// any other.
std::optional<FileKind> KindOf(const std::filesystem::path& path);

// The text files that `paths` stand for: files as given, folders walked in
// path order, hidden files, symbolic links and files of other kinds left out.
// NOT_FOUND when a path is not there or there is no text file in a folder,
// INVALID_ARGUMENT when a file is of another kind.
StatusOr<std::vector<std::filesystem::path>> ListTextFiles(
    const std::vector<std::filesystem::path>& paths);

}  // namespace tributary::text

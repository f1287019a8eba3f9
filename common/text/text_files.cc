#include "common/text/text_files.h"

#include <algorithm>

#include "common/base/files.h"

namespace tributary::text {
namespace {

namespace fs = std::filesystem;

StatusOr<std::vector<fs::path>> ListFolder(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  fs::recursive_directory_iterator walk(folder, error);
  for (; !error && walk != fs::recursive_directory_iterator();
       walk.increment(error)) {
    const bool hidden = walk->path().filename().string().starts_with('.');
    std::error_code ignored;
    if (hidden && walk->is_directory(ignored)) {
      walk.disable_recursion_pending();
    } else if (!hidden && !walk->is_symlink(ignored) &&
               walk->is_regular_file(ignored) && KindOf(walk->path())) {
      files.push_back(walk->path());
    }
  }
  if (error) {
    return ErrnoStatus(error.value(), folder.string());
  }
  if (files.empty()) {
    return NotFound(
        "{}: no text file in this folder; wanted .txt or .jsonl, optionally "
        "with .gz or .zst behind it",
        folder.string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

std::optional<FileKind> KindOf(const fs::path& path) {
  FileKind kind;
  fs::path name = path.filename();
  if (name.extension() == ".gz") {
    kind.packing = FileKind::Packing::kGzip;
  } else if (name.extension() == ".zst") {
    kind.packing = FileKind::Packing::kZstd;
  }
  if (kind.packing != FileKind::Packing::kPlain) {
    name = name.stem();
  }
  if (name.extension() == ".jsonl") {
    kind.form = FileKind::Form::kJsonLines;
  } else if (name.extension() != ".txt") {
    return std::nullopt;
  }
  return kind;
}

StatusOr<std::vector<fs::path>> ListTextFiles(
    const std::vector<fs::path>& paths) {
  std::vector<fs::path> files;
  for (const fs::path& path : paths) {
    std::error_code error;
    if (fs::is_regular_file(path, error)) {
      if (!KindOf(path)) {
        return InvalidArgument(
            "{}: unknown kind of text file; wanted .txt or .jsonl, optionally "
            "with .gz or .zst behind it",
            path.string());
      }
      files.push_back(path);
    } else if (fs::is_directory(path, error)) {
      ASSIGN_OR_RETURN(const auto found, ListFolder(path));
      files.insert(files.end(), found.begin(), found.end());
    } else {
      return NotFound("{}: no such text file or folder", path.string());
    }
  }
  return files;
}

}  // namespace tributary::text

#include "contributor/pipeline/fingerprint.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "common/base/files.h"
#include "common/crypto/digest.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

Status AddFile(const fs::path& file, const std::string& name,
               std::vector<std::string>& lines) {
  struct stat info = {};
  if (stat(file.c_str(), &info) != 0) {
    return ErrnoStatus(errno, file.string());
  }
  if (S_ISREG(info.st_mode)) {
    lines.push_back(fmt::format("{}\t{}\t{}.{:09}", name, info.st_size,
                                info.st_mtim.tv_sec, info.st_mtim.tv_nsec));
  }
  return absl::OkStatus();
}

Status AddPath(const fs::path& path, std::vector<std::string>& lines) {
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    return AddFile(path, path.filename().string(), lines);
  }
  fs::recursive_directory_iterator entry(
      path, fs::directory_options::follow_directory_symlink, error);
  for (; !error && entry != fs::recursive_directory_iterator();
       entry.increment(error)) {
    RETURN_IF_ERROR(AddFile(
        entry->path(), entry->path().lexically_relative(path).string(), lines));
  }
  if (error) {
    return ErrnoStatus(error.value(), path.string());
  }
  return absl::OkStatus();
}

void AddSize(const fs::path& file, DataSize& size) {
  std::error_code error;
  if (fs::is_regular_file(file, error)) {
    const uintmax_t bytes = fs::file_size(file, error);
    size.bytes += error ? 0 : bytes;
    ++size.files;
  }
}

}  // namespace

DataSize SizeOf(const std::vector<fs::path>& paths) {
  DataSize size;
  for (const fs::path& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      AddSize(path, size);
      continue;
    }
    fs::recursive_directory_iterator entry(
        path, fs::directory_options::follow_directory_symlink, error);
    for (; !error && entry != fs::recursive_directory_iterator();
         entry.increment(error)) {
      AddSize(entry->path(), size);
    }
  }
  return size;
}

StatusOr<std::string> FingerprintPaths(const std::vector<fs::path>& paths) {
  std::string all;
  for (const fs::path& path : paths) {
    std::vector<std::string> lines;
    RETURN_IF_ERROR(AddPath(path, lines));
    if (lines.empty()) {
      return InvalidArgument(
          "{}: got no regular file, wanted a text file or a folder that holds "
          "some",
          path.string());
    }
    std::sort(lines.begin(), lines.end());
    for (const std::string& line : lines) {
      all += line;
      all += '\n';
    }
    all += "--\n";
  }
  return crypto::Sha256Hex(all);
}

}  // namespace tributary::contributor

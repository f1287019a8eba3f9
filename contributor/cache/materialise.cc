#include "contributor/cache/materialise.h"

#include <set>

#include "common/base/random.h"
#include "common/base/text.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

Status FileSystemError(const std::error_code& error, const fs::path& path) {
  return ErrnoStatus(error.value(), path.string());
}

// True when the folder holds exactly these files with these bytes.
bool IsIntact(const std::vector<MaterialisedFile>& files,
              const fs::path& directory) {
  std::set<fs::path> expected;
  for (const MaterialisedFile& file : files) {
    const fs::path path = directory / file.path;
    if (const auto* blob = std::get_if<manifest::BlobName>(&file.content)) {
      const auto digest = crypto::DigestFile(path);
      if (!digest.ok() || digest->sha256 != blob->sha256) {
        return false;
      }
    } else {
      const auto content = ReadFile(path);
      if (!content.ok() || *content != std::get<std::string>(file.content)) {
        return false;
      }
    }
    expected.insert(path);
  }
  std::error_code error;
  fs::recursive_directory_iterator entry(directory, error);
  for (; !error && entry != fs::recursive_directory_iterator();
       entry.increment(error)) {
    if (!entry->is_directory() && !expected.contains(entry->path())) {
      return false;
    }
  }
  return !error;
}

Status Place(BlobCache& cache, const MaterialisedFile& file,
             const fs::path& path) {
  RETURN_IF_ERROR(MakeDirectories(path.parent_path()));
  if (const auto* text = std::get_if<std::string>(&file.content)) {
    return WriteFileAtomic(path, *text, 0444);
  }
  ASSIGN_OR_RETURN(const fs::path blob,
                   cache.Verify(std::get<manifest::BlobName>(file.content)));
  std::error_code error;
  fs::create_hard_link(blob, path, error);
  if (error) {
    fs::copy_file(blob, path, error);
  }
  return error ? FileSystemError(error, path) : absl::OkStatus();
}

Status Build(BlobCache& cache, const std::vector<MaterialisedFile>& files,
             const fs::path& directory) {
  RETURN_IF_ERROR(MakeDirectories(directory));
  for (const MaterialisedFile& file : files) {
    RETURN_IF_ERROR(Place(cache, file, directory / file.path));
  }
  return SyncDirectory(directory);
}

}  // namespace

Status CheckRelativePath(std::string_view path) {
  const auto refuse = [&](std::string_view why) {
    return InvalidArgument("file path \"{}\": {}", path, why);
  };
  if (path.empty() || path.size() > 1024) {
    return refuse("wanted 1 to 1024 bytes");
  }
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\') {
      return refuse("control characters and backslashes are not allowed");
    }
  }
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") {
      return refuse("wanted a relative path without \".\" and \"..\" parts");
    }
    begin = end + 1;
  }
  return absl::OkStatus();
}

Status Materialise(BlobCache& cache, const std::vector<MaterialisedFile>& files,
                   const fs::path& directory) {
  for (const MaterialisedFile& file : files) {
    RETURN_IF_ERROR(CheckRelativePath(file.path));
  }
  std::error_code error;
  if (fs::exists(directory, error) && IsIntact(files, directory)) {
    return absl::OkStatus();
  }
  const fs::path parent = directory.parent_path();
  RETURN_IF_ERROR(MakeDirectories(parent));
  const fs::path building = parent / (directory.filename().string() + ".tmp-" +
                                      ToHex(RandomBytes(6)));
  if (Status status = Build(cache, files, building); !status.ok()) {
    fs::remove_all(building, error);
    return status;
  }
  fs::remove_all(directory, error);
  if (!error) {
    fs::rename(building, directory, error);
  }
  if (error) {
    const Status status = FileSystemError(error, directory);
    fs::remove_all(building, error);
    return status;
  }
  return SyncDirectory(parent);
}

}  // namespace tributary::contributor

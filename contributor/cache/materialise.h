#pragma once

// Folders made of cached blobs: the same bytes under the names that a manifest
// gives them, as hard links where the file system allows it.

#include <filesystem>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "common/base/status.h"
#include "contributor/cache/blob_cache.h"

namespace tributary::contributor {

// A file of such a folder.
struct MaterialisedFile {
  // Relative, "/" between parts.
  std::string path;
  // A cached blob, or literal content.
  std::variant<manifest::BlobName, std::string> content;
};

// INVALID_ARGUMENT for a path that is absolute, empty, has ".", ".." or empty
// parts, a backslash or control characters: it could leave the folder.
Status CheckRelativePath(std::string_view path);

// Makes `directory` hold exactly `files`, every blob verified. Either the whole
// folder appears or nothing: it is built beside its place and renamed. A folder
// that is already there is verified, and built anew when a file is missing,
// altered or not listed. NOT_FOUND or DATA_LOSS when a blob is not (or no
// longer) in the cache: fetch it and call again.
Status Materialise(BlobCache& cache, const std::vector<MaterialisedFile>& files,
                   const std::filesystem::path& directory);

}  // namespace tributary::contributor

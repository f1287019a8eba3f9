#include "coordinator/commands/secret_file.h"

#include <sys/stat.h>

#include <algorithm>

#include "common/base/files.h"

namespace tributary::coordinator {
namespace {

constexpr uint64_t kMaxBytes = 4096;
constexpr size_t kLeastCharacters = 16;

}  // namespace

StatusOr<std::string> ReadSecretFile(const std::string& path) {
  if (path.empty()) {
    return std::string();
  }
  ASSIGN_OR_RETURN(std::string key, ReadFile(path, kMaxBytes));
  struct stat info = {};
  if (stat(path.c_str(), &info) == 0 && (info.st_mode & 077) != 0) {
    return FailedPrecondition(
        "{}: others than its owner can read it; run chmod 600", path);
  }
  key.erase(key.find_last_not_of(" \t\r\n") + 1);
  key.erase(0, std::min(key.find_first_not_of(" \t\r\n"), key.size()));
  if (key.size() < kLeastCharacters ||
      std::any_of(key.begin(), key.end(),
                  [](char c) { return c <= ' ' || c > '~'; })) {
    return InvalidArgument(
        "{}: wanted a key of at least {} printable characters without spaces",
        path, kLeastCharacters);
  }
  return key;
}

}  // namespace tributary::coordinator

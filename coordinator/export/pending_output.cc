#include "coordinator/export/pending_output.h"

#include <utility>

#include "common/base/files.h"

namespace tributary::coordinator {

namespace fs = std::filesystem;

PendingOutput::PendingOutput(fs::path output, fs::path path)
    : output_(std::move(output)), path_(std::move(path)) {}

PendingOutput::PendingOutput(PendingOutput&& other) noexcept
    : output_(std::move(other.output_)),
      path_(std::exchange(other.path_, {})) {}

PendingOutput::~PendingOutput() {
  if (!path_.empty()) {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
}

StatusOr<PendingOutput> PendingOutput::CreateFile(const fs::path& output) {
  std::error_code error;
  if (fs::exists(output, error)) {
    return AlreadyExists("{}: is there already; choose another output",
                         output.string());
  }
  const fs::path path = output.string() + ".partial";
  fs::remove_all(path, error);
  return PendingOutput(output, path);
}

StatusOr<PendingOutput> PendingOutput::CreateFolder(const fs::path& output) {
  ASSIGN_OR_RETURN(PendingOutput pending, CreateFile(output));
  RETURN_IF_ERROR(MakeDirectories(pending.path()));
  return pending;
}

Status PendingOutput::Publish() {
  if (fs::is_directory(path_)) {
    RETURN_IF_ERROR(SyncDirectory(path_));
  }
  std::error_code error;
  fs::rename(path_, output_, error);
  if (error) {
    return ErrnoStatus(error.value(), output_.string());
  }
  path_.clear();
  return SyncDirectory(output_.has_parent_path() ? output_.parent_path() : ".");
}

}  // namespace tributary::coordinator

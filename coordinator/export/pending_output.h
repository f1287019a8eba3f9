#pragma once

#include <filesystem>

#include "common/base/status.h"

namespace tributary::coordinator {

// A file or folder that is made beside its final name and renamed when it is
// complete; removed otherwise.
class PendingOutput {
 public:
  // ALREADY_EXISTS when `output` is there. What an interrupted run left is
  // removed.
  static StatusOr<PendingOutput> CreateFolder(
      const std::filesystem::path& output);
  static StatusOr<PendingOutput> CreateFile(
      const std::filesystem::path& output);

  PendingOutput(PendingOutput&& other) noexcept;
  PendingOutput& operator=(PendingOutput&&) = delete;
  ~PendingOutput();

  const std::filesystem::path& path() const { return path_; }

  // Makes it durable under its final name.
  Status Publish();

 private:
  PendingOutput(std::filesystem::path output, std::filesystem::path path);

  std::filesystem::path output_;
  std::filesystem::path path_;  // empty once published or moved from
};

}  // namespace tributary::coordinator

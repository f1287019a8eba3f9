#pragma once

#include <filesystem>
#include <string>

#include "common/base/status.h"
#include "coordinator/storage/core.h"

namespace tributary::coordinator {

// A job's working folder, empty at first and removed with the object:
// `input` holds links to blobs, which a worker may only read; `output` is the
// worker's own.
class JobFolder {
 public:
  static StatusOr<JobFolder> Create(const Home& home, const std::string& id);
  JobFolder(JobFolder&& other) noexcept;
  JobFolder& operator=(JobFolder&&) = delete;
  ~JobFolder();

  std::filesystem::path input() const { return root_ / "input"; }
  std::filesystem::path output() const { return root_ / "output"; }
  const std::filesystem::path& root() const { return root_; }

 private:
  explicit JobFolder(std::filesystem::path root) : root_(std::move(root)) {}
  std::filesystem::path root_;
};

// The folder of a published anchor, made when it is not there: a loadable model
// directory with public/ inside.
StatusOr<std::filesystem::path> EnsureAnchorFolder(
    const Core& core, const std::string& anchor_digest);

}  // namespace tributary::coordinator

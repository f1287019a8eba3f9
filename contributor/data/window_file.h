#pragma once

// Windows on disk, filled in any order: a safetensors file that appears under
// its name when it is complete.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "common/base/status.h"

namespace tributary::contributor {

class WindowFile {
 public:
  struct Tensor {  // int32 [windows, window_tokens]
    std::string name;
    int64_t windows = 0;
  };

  static StatusOr<std::unique_ptr<WindowFile>> Create(
      const std::filesystem::path& path, const std::vector<Tensor>& tensors,
      int64_t window_tokens);
  // Removes the file unless Finish succeeded.
  ~WindowFile();
  WindowFile(const WindowFile&) = delete;
  WindowFile& operator=(const WindowFile&) = delete;

  // Values of tensor `tensor` from element `at` on.
  Status Write(size_t tensor, int64_t at, std::span<const int32_t> values);
  Status Read(size_t tensor, int64_t at, std::span<int32_t> values) const;

  // Makes the file durable and visible.
  Status Finish();

 private:
  WindowFile(std::filesystem::path path, FileDescriptor file)
      : path_(std::move(path)),
        temporary_(path_.string() + ".part"),
        file_(std::move(file)) {}

  const std::filesystem::path path_;
  const std::filesystem::path temporary_;
  const FileDescriptor file_;
  std::vector<uint64_t> begins_;  // of the tensors, in bytes
  bool finished_ = false;
};

}  // namespace tributary::contributor

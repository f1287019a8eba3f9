#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/status.h"

namespace tributary::contributor {

// A file of JSON lines with a "step" each, for people and programs that follow
// a run.
class LossLog {
 public:
  // Keeps the lines of the steps up to `step` and drops what a killed run wrote
  // behind them.
  static StatusOr<LossLog> Open(const std::filesystem::path& path,
                                int64_t step);

  Status Append(const nlohmann::ordered_json& line);

 private:
  LossLog() = default;
  FileDescriptor file_;
  uint64_t size_ = 0;
};

}  // namespace tributary::contributor

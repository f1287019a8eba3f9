#pragma once

// Reads what PrepareText writes.

#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "common/safetensors/reader.h"
#include "gtest/gtest.h"

namespace tributary::contributor {

using Rows = std::vector<std::vector<int32_t>>;

inline Rows ReadRows(const std::filesystem::path& path,
                     const std::string& name) {
  const auto file = safetensors::File::Open(path);
  EXPECT_TRUE(file.ok()) << file.status();
  const auto* info = (*file)->Find(name);
  Rows rows(static_cast<size_t>(info->shape[0]),
            std::vector<int32_t>(static_cast<size_t>(info->shape[1])));
  const std::byte* from = (*file)->Bytes(*info).data();
  for (auto& row : rows) {
    std::memcpy(row.data(), from, row.size() * 4);
    from += row.size() * 4;
  }
  return rows;
}

}  // namespace tributary::contributor

#pragma once

#include <filesystem>
#include <vector>

#include "ATen/ATen.h"
#include "common/base/status.h"

namespace tributary::coordinator {

// The router of one layer. E experts with the public one, D model width.
struct RouterRows {
  at::Tensor rows_ED;  // fp32
  at::Tensor bias_E;   // fp32
};

// Writes a router file as a merge does (coordinator/merge/merge.h): for every
// layer `layers.{l}.router.weight` and `layers.{l}.router.bias`.
Status WriteRouterFile(const std::vector<RouterRows>& layers,
                       const std::filesystem::path& path);

}  // namespace tributary::coordinator

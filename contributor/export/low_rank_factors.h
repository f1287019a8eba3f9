#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "common/base/status.h"

namespace tributary::contributor {

// The factors of every layer of the anchor's width, by the names of
// model_format::ExpertFactorA and ExpertFactorB, bf16: of each matrix W, its
// channels put back into the anchor's order, the singular vectors of W - W0
// with the `rank` largest singular values, each factor scaled by their square
// roots. Errors as LoadModel and LoadExpert.
StatusOr<std::map<std::string, std::vector<std::byte>>> LowRankFactors(
    const std::filesystem::path& model_directory,
    const std::filesystem::path& expert_path,
    const std::filesystem::path& router_path, int64_t rank);

}  // namespace tributary::contributor

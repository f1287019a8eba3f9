#pragma once

#include <filesystem>

#include "common/base/status.h"
#include "common/model/load.h"

namespace tributary::model {

// LoadExpert for any encoding: layers that the file gives as differences of low
// rank to the anchor's FFN (model_format::ExpertFactorA) are expanded with the
// FFNs of `anchor`, to the very bf16 numbers that a file with whole matrices
// would hold where the anchor is kept in its file's precision or fp32.
// FAILED_PRECONDITION for such a layer whose FFN the model does not have.
StatusOr<Expert> LoadExpertBeside(const CausalLm& anchor,
                                  const std::filesystem::path& path,
                                  const std::filesystem::path& router_path = {},
                                  const LoadOptions& options = {});

}  // namespace tributary::model

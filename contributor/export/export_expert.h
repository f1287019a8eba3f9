#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "common/base/status.h"

namespace tributary::contributor {

struct ExportOptions {
  std::filesystem::path model_directory;
  // fp32 or bf16 matrices, with or without rows.
  std::filesystem::path expert_path;
  // Rows for every layer; empty: those in the expert.
  std::filesystem::path router_path;
  // Above 0: layers of the anchor's width become differences of this rank to
  // the anchor's FFN.
  int64_t rank = 0;
};

struct ExportedExpert {
  std::vector<int64_t> widths;  // one per layer of the model
  int64_t parameters = 0;       // everything in the file
  uint64_t size_bytes = 0;
};

// Writes the expert as it is uploaded: only the tensors of the format, by
// layer gate_proj, up_proj, down_proj (bf16, rounded to nearest even), router
// weight and bias (fp32), zeros below the expert's first layer, no metadata;
// then reads it again and compares every value. With a rank each matrix of the
// anchor's width, its channels put back into the anchor's order, is W0 + B A:
// the singular vectors of the difference with the largest singular values
// (FlexMoRE, arXiv 2602.08818). INVALID_ARGUMENT for tensors outside
// the format, missing rows, values that are not finite or not finite as bf16,
// or a rank without a layer of the anchor's width; DATA_LOSS when the file
// reads back differently.
StatusOr<ExportedExpert> ExportExpert(const ExportOptions& options,
                                      const std::filesystem::path& output_path);

}  // namespace tributary::contributor

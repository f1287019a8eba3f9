#pragma once

// Matrices given as a difference of low rank to the anchor's:
// W = W0 + B A, rounded to bf16.

#include <cstddef>
#include <cstdint>
#include <span>

#include "common/base/status.h"
#include "common/safetensors/dtype.h"

namespace tributary::model_format {

struct LowRankMatrix {
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t rank = 0;
  // W0 [rows, columns], the anchor's, in a floating point dtype.
  safetensors::DType base_dtype = safetensors::DType::kBF16;
  std::span<const std::byte> base;
  std::span<const std::byte> a;  // bf16 [rank, columns]
  std::span<const std::byte> b;  // bf16 [rows, rank]
};

// Rows [begin, end) of W into `out`, bf16. Products of bf16 numbers are exact
// in fp64 and are added up there in ascending order, so that W has the same
// bits on every machine: it is what a file with the whole matrix would hold.
// INVALID_ARGUMENT for sizes that do not fit each other.
Status ExpandRows(const LowRankMatrix& matrix, int64_t begin, int64_t end,
                  std::span<std::byte> out);

}  // namespace tributary::model_format

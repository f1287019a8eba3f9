#include "common/model_format/low_rank.h"

#include <algorithm>
#include <vector>

#include "common/safetensors/float_convert.h"

namespace tributary::model_format {
namespace {

using safetensors::DType;
using safetensors::ToFloat32;

}  // namespace

Status ExpandRows(const LowRankMatrix& matrix, int64_t begin, int64_t end,
                  std::span<std::byte> out) {
  constexpr size_t kBf16 = 2;
  const auto rows = static_cast<size_t>(matrix.rows);
  const auto columns = static_cast<size_t>(matrix.columns);
  const auto rank = static_cast<size_t>(matrix.rank);
  const size_t base_size = safetensors::DTypeSize(matrix.base_dtype);
  if (matrix.rows < 1 || matrix.columns < 1 || matrix.rank < 1 || begin < 0 ||
      begin > end || end > matrix.rows ||
      matrix.base.size() != rows * columns * base_size ||
      matrix.a.size() != rank * columns * kBf16 ||
      matrix.b.size() != rows * rank * kBf16 ||
      out.size() != static_cast<size_t>(end - begin) * columns * kBf16) {
    return InvalidArgument(
        "rows {} to {} of a matrix [{}, {}] of rank {}: got {}, {} and {} "
        "bytes "
        "of base, A and B and {} of room",
        begin, end, matrix.rows, matrix.columns, matrix.rank,
        matrix.base.size(), matrix.a.size(), matrix.b.size(), out.size());
  }
  std::vector<float> a(rank * columns);
  RETURN_IF_ERROR(ToFloat32(DType::kBF16, matrix.a, a));
  std::vector<float> b(rank);
  std::vector<float> row(columns);
  std::vector<double> sum(columns);
  for (auto r = static_cast<size_t>(begin); r < static_cast<size_t>(end); ++r) {
    RETURN_IF_ERROR(ToFloat32(
        matrix.base_dtype,
        matrix.base.subspan(r * columns * base_size, columns * base_size),
        row));
    RETURN_IF_ERROR(ToFloat32(
        DType::kBF16, matrix.b.subspan(r * rank * kBf16, rank * kBf16), b));
    std::fill(sum.begin(), sum.end(), 0.0);
    for (size_t k = 0; k < rank; ++k) {
      const double factor = b[k];
      const float* line = a.data() + k * columns;
      for (size_t c = 0; c < columns; ++c) {
        sum[c] += factor * line[c];
      }
    }
    for (size_t c = 0; c < columns; ++c) {
      row[c] = static_cast<float>(sum[c] + row[c]);
    }
    RETURN_IF_ERROR(safetensors::FromFloat32(row, DType::kBF16,
                                             out.subspan(0, columns * kBf16)));
    out = out.subspan(columns * kBf16);
  }
  return absl::OkStatus();
}

}  // namespace tributary::model_format

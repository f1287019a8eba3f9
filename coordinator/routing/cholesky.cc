#include "coordinator/routing/cholesky.h"

#include <algorithm>
#include <cmath>

namespace tributary::coordinator {
namespace {

constexpr int64_t kPanel = 48;
constexpr int kEstimateSteps = 5;

double OneNorm(const std::vector<double>& a, int64_t n) {
  std::vector<double> sums(n, 0.0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      const double value = std::abs(a[i * n + j]);
      sums[i] += value;
      if (j != i) {
        sums[j] += value;
      }
    }
  }
  return sums.empty() ? 0.0 : *std::max_element(sums.begin(), sums.end());
}

// Factors the columns [begin, end) of rows from `begin` on, which hold what the
// columns before have left.
Status FactorPanel(std::vector<double>& a, int64_t n, int64_t begin,
                   int64_t end) {
  for (int64_t k = begin; k < end; ++k) {
    const double pivot = a[k * n + k];
    if (!(pivot > 0) || !std::isfinite(pivot)) {
      return FailedPrecondition(
          "matrix of {} columns: the pivot of column {} is {}, wanted a "
          "positive number",
          n, k, pivot);
    }
    const double root = std::sqrt(pivot);
    for (int64_t i = k; i < n; ++i) {
      a[i * n + k] /= root;
    }
    for (int64_t i = k + 1; i < n; ++i) {
      const double factor = a[i * n + k];
      for (int64_t j = k + 1; j < std::min(end, i + 1); ++j) {
        a[i * n + j] -= factor * a[j * n + k];
      }
    }
  }
  return absl::OkStatus();
}

// Takes the panel's part off everything behind it.
void UpdateBehind(std::vector<double>& a, int64_t n, int64_t begin,
                  int64_t end) {
  const int64_t behind = n - end;
  // Columns of the panel, each contiguous: the inner loop runs along rows.
  std::vector<double> columns((end - begin) * behind);
  for (int64_t k = begin; k < end; ++k) {
    for (int64_t j = 0; j < behind; ++j) {
      columns[(k - begin) * behind + j] = a[(end + j) * n + k];
    }
  }
  for (int64_t i = end; i < n; ++i) {
    double* row = a.data() + i * n + end;
    for (int64_t k = begin; k < end; ++k) {
      const double factor = a[i * n + k];
      const double* column = columns.data() + (k - begin) * behind;
      for (int64_t j = 0; j <= i - end; ++j) {
        row[j] -= factor * column[j];
      }
    }
  }
}

}  // namespace

StatusOr<Cholesky> Cholesky::Factor(std::vector<double> a, int64_t n) {
  if (n < 1 || static_cast<int64_t>(a.size()) != n * n) {
    return InvalidArgument("matrix: got {} numbers, wanted {} x {}", a.size(),
                           n, n);
  }
  const double norm = OneNorm(a, n);
  for (int64_t begin = 0; begin < n; begin += kPanel) {
    const int64_t end = std::min(begin + kPanel, n);
    RETURN_IF_ERROR(FactorPanel(a, n, begin, end));
    UpdateBehind(a, n, begin, end);
  }
  return Cholesky(std::move(a), n, norm);
}

void Cholesky::Solve(std::span<double> b) const {
  for (int64_t i = 0; i < n_; ++i) {
    const double* row = lower_.data() + i * n_;
    double sum = b[i];
    for (int64_t j = 0; j < i; ++j) {
      sum -= row[j] * b[j];
    }
    b[i] = sum / row[i];
  }
  for (int64_t i = n_ - 1; i >= 0; --i) {
    const double* row = lower_.data() + i * n_;
    b[i] /= row[i];
    for (int64_t j = 0; j < i; ++j) {
      b[j] -= row[j] * b[i];
    }
  }
}

double Cholesky::Condition() const {
  std::vector<double> x(n_, 1.0 / static_cast<double>(n_));
  double estimate = 0;
  for (int step = 0; step < kEstimateSteps; ++step) {
    std::vector<double> y = x;
    Solve(y);
    double sum = 0;
    for (const double value : y) {
      sum += std::abs(value);
    }
    estimate = std::max(estimate, sum);
    std::vector<double> z(n_);
    for (int64_t i = 0; i < n_; ++i) {
      z[i] = y[i] < 0 ? -1.0 : 1.0;
    }
    Solve(z);
    int64_t largest = 0;
    double along = 0;
    for (int64_t i = 0; i < n_; ++i) {
      along += z[i] * x[i];
      if (std::abs(z[i]) > std::abs(z[largest])) {
        largest = i;
      }
    }
    if (std::abs(z[largest]) <= along) {
      break;
    }
    std::fill(x.begin(), x.end(), 0.0);
    x[largest] = 1.0;
  }
  return norm_ * estimate;
}

}  // namespace tributary::coordinator

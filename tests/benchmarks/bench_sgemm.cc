#include <torch/torch.h>

#include "benchmark/benchmark.h"
#include "tests/benchmarks/sgemm.h"

namespace tributary::benchmarks {
namespace {

void Sgemm(benchmark::State& state) {
  const auto product =
      MakeSgemm(state.range(0), state.range(1), state.range(2));
  product();
  for ([[maybe_unused]] auto iteration : state) {
    product();
  }
  state.counters["flops"] = benchmark::Counter(
      ProductFlops(state.range(0), state.range(1), state.range(2)),
      benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK(Sgemm)
    ->Args({2048, 2048, 2048})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace

std::function<void()> MakeSgemm(int64_t m, int64_t k, int64_t n) {
  const at::Tensor x = at::randn({m, k});
  const at::Tensor weight = at::randn({n, k});
  at::Tensor out = at::empty({m, n});
  return [x, weight, out]() mutable { at::mm_out(out, x, weight.t()); };
}

}  // namespace tributary::benchmarks

// What memory allows: bytes copied per second, for rows whose limit is a copy.

#include <cstring>
#include <vector>

#include "benchmark/benchmark.h"

namespace tributary::benchmarks {
namespace {

void Copy(benchmark::State& state) {
  const auto size = static_cast<size_t>(state.range(0)) << 20;
  const std::vector<char> from(size, 1);
  std::vector<char> to(size, 2);
  for ([[maybe_unused]] auto iteration : state) {
    std::memcpy(to.data(), from.data(), size);
    benchmark::DoNotOptimize(to.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(size));
}
BENCHMARK(Copy)->Arg(256)->UseRealTime()->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tributary::benchmarks

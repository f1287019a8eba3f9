// Runs benchmarks in the runtime of a worker. BENCHMARK_THREADS: the number of
// threads, one per core when it is not set.

#include <cstdio>
#include <cstdlib>

#include "benchmark/benchmark.h"
#include "common/model/runtime.h"

int main(int argc, char** argv) {
  const char* threads = std::getenv("BENCHMARK_THREADS");
  const auto device = tributary::model::PrepareRuntime(
      {.threads = threads != nullptr ? std::atoi(threads) : 0});
  if (!device.ok()) {
    std::fprintf(stderr, "%s\n", device.status().ToString().c_str());
    return 1;
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) {
    return 2;
  }
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
  return 0;
}

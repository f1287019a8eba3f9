// Opening safetensors files, and loading bf16 as fp32. BENCHMARK_FILES is a
// folder with 48.safetensors, 1536.safetensors (that many tensors) and
// large.safetensors (one bf16 tensor "x"), made by rows/data.py.

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "benchmark/benchmark.h"
#include "common/safetensors/reader.h"
#include "tests/benchmarks/interleave.h"

namespace tributary::benchmarks {
namespace {

using safetensors::File;
using safetensors::HeaderLimits;

std::filesystem::path Folder() {
  const char* folder = std::getenv("BENCHMARK_FILES");
  return folder == nullptr ? "" : folder;
}

size_t Threads() {
  const char* threads = std::getenv("BENCHMARK_THREADS");
  return threads == nullptr ? 1 : std::strtoul(threads, nullptr, 10);
}

// Runs `body(begin, end)` on parts of [0, count) in the calling thread and
// helpers.
void InParts(size_t count, const std::function<void(size_t, size_t)>& body) {
  const size_t parts = Threads();
  std::vector<std::jthread> helpers;
  for (size_t i = 1; i < parts; ++i) {
    helpers.emplace_back(body, count * i / parts, count * (i + 1) / parts);
  }
  body(0, count / parts);
}

void Open(benchmark::State& state) {
  const auto path =
      Folder() / (std::to_string(state.range(0)) + ".safetensors");
  size_t dimensions = 0;
  for ([[maybe_unused]] auto iteration : state) {
    const auto file = File::Open(path, {HeaderLimits::ForModel()});
    if (!file.ok()) {
      state.SkipWithError(file.status().ToString().c_str());
      return;
    }
    for (const auto& tensor : (*file)->tensors()) {
      dimensions += tensor.shape.size();
    }
  }
  benchmark::DoNotOptimize(dimensions);
}
BENCHMARK(Open)->Arg(48)->Arg(1536)->Unit(benchmark::kMicrosecond);

// The file's pages are in memory, the result's buffer is warm. The bound moves
// the same number of bytes (2 read and 4 written an element) by copying.
void LoadAndUpcast(benchmark::State& state) {
  const auto path = Folder() / "large.safetensors";
  const auto first = File::Open(path, {HeaderLimits::ForModel()});
  if (!first.ok()) {
    state.SkipWithError(first.status().ToString().c_str());
    return;
  }
  const auto elements = static_cast<size_t>((*first)->Find("x")->elements());
  std::vector<float> out(elements);
  std::vector<char> from(elements * 3, 1);
  std::vector<char> to(elements * 3, 2);
  const auto load = [&] {
    const auto file = File::Open(path, {HeaderLimits::ForModel()});
    const auto& info = *(*file)->Find("x");
    InParts(elements, [&](size_t begin, size_t end) {
      const Status status = (*file)->ToFloats(
          info, begin, std::span(out).subspan(begin, end - begin));
      benchmark::DoNotOptimize(status);
    });
  };
  const auto copy = [&] {
    InParts(from.size(), [&](size_t begin, size_t end) {
      std::memcpy(to.data() + begin, from.data() + begin, end - begin);
    });
    benchmark::ClobberMemory();
  };
  RunInTurn(state, {{"copy", copy}, {"load", load}});
  state.counters["bytes"] = static_cast<double>(elements * 2);
}
BENCHMARK(LoadAndUpcast)->Iterations(kRounds)->UseManualTime();

}  // namespace
}  // namespace tributary::benchmarks

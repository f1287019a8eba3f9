#include "tests/benchmarks/interleave.h"

#include <algorithm>
#include <chrono>

namespace tributary::benchmarks {
namespace {

double SecondsOf(const std::function<void()>& run) {
  const auto start = std::chrono::steady_clock::now();
  run();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start)
      .count();
}

}  // namespace

double Median(std::vector<double> values) {
  if (values.empty()) {
    return 0;
  }
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half]
                                : (values[half - 1] + values[half]) / 2;
}

void RunInTurn(benchmark::State& state,
               const std::vector<Contestant>& contestants) {
  for (const Contestant& contestant : contestants) {
    contestant.run();
  }
  std::vector<std::vector<double>> seconds(contestants.size());
  std::vector<std::vector<double>> ratios(contestants.size());
  for ([[maybe_unused]] auto iteration : state) {
    for (size_t i = 0; i < contestants.size(); ++i) {
      seconds[i].push_back(SecondsOf(contestants[i].run));
      ratios[i].push_back(seconds[0].back() / seconds[i].back());
    }
    state.SetIterationTime(seconds[0].back());
  }
  for (size_t i = 0; i < contestants.size(); ++i) {
    state.counters[contestants[i].name + "_s"] = Median(seconds[i]);
    if (i > 0) {
      state.counters["per_" + contestants[i].name] = Median(ratios[i]);
    }
  }
}

}  // namespace tributary::benchmarks

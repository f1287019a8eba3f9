#pragma once

#include <functional>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"

namespace tributary::benchmarks {

// Something whose time is measured.
struct Contestant {
  std::string name;
  std::function<void()> run;
};

// Times the contestants in turn, once each per iteration of `state`, after one
// unmeasured round: what disturbs the machine disturbs all of them. Reports
// the median seconds of each as the counter "<name>_s", and for all but the
// first the median ratio first / other within a round as "per_<name>". Use
// with ->Iterations(n)->UseManualTime(): the benchmark's own time is the
// first's.
void RunInTurn(benchmark::State& state,
               const std::vector<Contestant>& contestants);

// Registers benchmarks with the median of rounds that rows need.
inline constexpr int kRounds = 9;

double Median(std::vector<double> values);

}  // namespace tributary::benchmarks

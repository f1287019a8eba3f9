// Index merges and opt-outs: what they cost against copying the experts, how
// many bytes they read and write, and how they grow. Files lie in
// BENCHMARK_FOLDER, by default in memory (/dev/shm).

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include "benchmark/benchmark.h"
#include "common/base/files.h"
#include "coordinator/merge/merge.h"
#include "tests/benchmarks/interleave.h"
#include "tests/benchmarks/merge/merge_experts.h"

namespace tributary::benchmarks {
namespace {

namespace fs = std::filesystem;
using coordinator::MergeExpert;
using coordinator::MergePlan;

// Bytes that this process has read and written through system calls.
struct IoBytes {
  double read = 0;
  double written = 0;
};

IoBytes CountIo() {
  std::ifstream file("/proc/self/io");
  IoBytes bytes;
  std::string key;
  for (double value = 0; file >> key >> value;) {
    if (key == "rchar:") {
      bytes.read = value;
    } else if (key == "wchar:") {
      bytes.written = value;
    }
  }
  return bytes;
}

class Workspace {
 public:
  Workspace() {
    const char* base = std::getenv("BENCHMARK_FOLDER");
    std::string name =
        std::string(base != nullptr ? base : "/dev/shm") + "/merge-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) {
      std::abort();
    }
    folder = name;
  }
  ~Workspace() { fs::remove_all(folder); }

  void Fill(int64_t experts, int64_t width, Matrices matrices) {
    plan.anchor = BenchmarkAnchor(shape);
    fs::create_directories(folder / "experts");
    for (int64_t e = 0; e < experts; ++e) {
      plan.experts.push_back(
          MakeBenchmarkExpert(folder / "experts", e, width, matrices, shape));
    }
  }

  fs::path router() const { return folder / "router.safetensors"; }

  // What a release costs beyond its experts: router file and manifest.
  bool Merge(MergePlan wanted, const char* name) {
    const auto release =
        coordinator::Merge(std::move(wanted), folder / (name + suffix));
    if (!release.ok()) {
      return false;
    }
    const auto json = release->ToJson();
    return json.ok() &&
           WriteFileAtomic(folder / (std::string(name) + ".json"), *json).ok();
  }

  double ReleaseBytes(const char* name) const {
    return static_cast<double>(
        fs::file_size(folder / (name + suffix)) +
        fs::file_size(folder / (std::string(name) + ".json")));
  }

  // As Merge of everything but the first expert of an existing release.
  bool OptOut(const char* from, const char* to) {
    const auto json = ReadFile(folder / (std::string(from) + ".json"));
    const auto release = manifest::ReleaseManifest::FromJson(*json);
    if (!release.ok()) {
      return false;
    }
    auto rest = coordinator::PlanOfRelease(*release, folder / (from + suffix));
    if (!rest.ok()) {
      return false;
    }
    rest->experts.erase(rest->experts.begin());
    return Merge(*std::move(rest), to);
  }

  const std::string suffix = ".safetensors";
  MergeShape shape;
  fs::path folder;
  MergePlan plan;
};

// Row 14: E experts of one width against cp of their files.
void IndexMergeOverCopy(benchmark::State& state) {
  Workspace work;
  work.Fill(state.range(0), state.range(1), Matrices::kRandom);
  const std::string copy = "cp -r " + (work.folder / "experts").string() + " " +
                           (work.folder / "copy").string();
  RunInTurn(state, {{"merge",
                     [&] {
                       if (!work.Merge(work.plan, "release")) {
                         state.SkipWithError("merge failed");
                       }
                     }},
                    {"copy", [&] {
                       if (std::system(copy.c_str()) != 0) {
                         state.SkipWithError("cp failed");
                       }
                       fs::remove_all(work.folder / "copy");
                     }}});
  const IoBytes before = CountIo();
  work.Merge(work.plan, "release");
  const IoBytes after = CountIo();
  const double size = work.ReleaseBytes("release");
  state.counters["written"] = (after.written - before.written) / size;
  state.counters["read"] = (after.read - before.read) / size;
  double referenced = 0;
  for (const MergeExpert& expert : work.plan.experts) {
    referenced += static_cast<double>(expert.entry.blob.size);
  }
  state.counters["referenced_mb"] = referenced / 1e6;
}
BENCHMARK(IndexMergeOverCopy)
    ->Args({8, 512})
    ->Args({8, 2048})
    ->Iterations(kRounds)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

// The sweep: time by number of experts and by width.
void IndexMerge(benchmark::State& state) {
  Workspace work;
  work.Fill(state.range(0), state.range(1), Matrices::kHoles);
  for ([[maybe_unused]] auto iteration : state) {
    if (!work.Merge(work.plan, "release")) {
      state.SkipWithError("merge failed");
      return;
    }
  }
}
BENCHMARK(IndexMerge)
    ->ArgsProduct({{8, 32, 128, 512, 1000}, {512}})
    ->ArgsProduct({{128}, {128, 2048, 8192}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// Row 17: one of E experts leaves.
void OptOut(benchmark::State& state) {
  Workspace work;
  work.Fill(state.range(0), state.range(1), Matrices::kHoles);
  if (!work.Merge(work.plan, "release")) {
    state.SkipWithError("merge failed");
    return;
  }
  for ([[maybe_unused]] auto iteration : state) {
    if (!work.OptOut("release", "rest")) {
      state.SkipWithError("opt-out failed");
      return;
    }
  }
  const IoBytes before = CountIo();
  work.OptOut("release", "rest");
  const IoBytes after = CountIo();
  state.counters["written"] =
      (after.written - before.written) / work.ReleaseBytes("rest");
  state.counters["read"] =
      (after.read - before.read) / work.ReleaseBytes("release");
}
BENCHMARK(OptOut)
    ->ArgsProduct({{64}, {128, 2048, 8192}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tributary::benchmarks

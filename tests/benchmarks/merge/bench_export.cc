// Row 15: writing a materialised mixture against cp of the same bytes, and what
// it holds in memory beyond the page cache. Files lie in BENCHMARK_FOLDER, by
// default in memory (/dev/shm). BENCHMARK_RELEASE names a native release.

#include <cstdlib>
#include <fstream>
#include <string>

#include "benchmark/benchmark.h"
#include "common/base/files.h"
#include "common/manifest/release_manifest.h"
#include "common/model_format/model_config.h"
#include "coordinator/export/mixture_tensors.h"
#include "coordinator/export/weight_files.h"
#include "tests/benchmarks/interleave.h"

namespace tributary::benchmarks {
namespace {

namespace fs = std::filesystem;
using coordinator::MixtureTensors;

// Memory of this process that no file stands behind, in MiB.
double AnonymousMib() {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("RssAnon:")) {
      return std::strtod(line.c_str() + 8, nullptr) / 1024;
    }
  }
  return 0;
}

// Rows as they are stored; what they hold does not matter here.
StatusOr<std::vector<std::vector<float>>> Rows(const fs::path& release) {
  ASSIGN_OR_RETURN(const std::string json, ReadFile(release / "release.json"));
  ASSIGN_OR_RETURN(const auto manifest,
                   manifest::ReleaseManifest::FromJson(json));
  ASSIGN_OR_RETURN(const auto config,
                   model_format::LoadModelConfig(release / "anchor"));
  return std::vector<std::vector<float>>(
      static_cast<size_t>(config.num_layers),
      std::vector<float>((manifest.experts.size() + 1) *
                         static_cast<size_t>(config.hidden_size)));
}

void MaterialiseOverCopy(benchmark::State& state) {
  const char* named = std::getenv("BENCHMARK_RELEASE");
  if (named == nullptr) {
    state.SkipWithError("BENCHMARK_RELEASE names no release");
    return;
  }
  const auto rows = Rows(named);
  const auto tensors =
      rows.ok() ? MixtureTensors::Open(named, *rows) : rows.status();
  if (!tensors.ok()) {
    state.SkipWithError(tensors.status().ToString().c_str());
    return;
  }
  const auto files = coordinator::PlanWeightFiles(
      (*tensors)->specs(), coordinator::kDefaultShardBytes);
  const char* base = std::getenv("BENCHMARK_FOLDER");
  std::string name =
      std::string(base != nullptr ? base : "/dev/shm") + "/export-XXXXXX";
  if (mkdtemp(name.data()) == nullptr) {
    state.SkipWithError("no folder");
    return;
  }
  const fs::path folder = name;
  const fs::path copy = folder / "copy.safetensors";
  const fs::path written = folder / (*files)[0].name;
  double growth = 0;
  double before = 0;
  const auto write = [&] {
    fs::remove(written);
    before = AnonymousMib();
    const Status status = coordinator::WriteWeightFiles(
        **tensors, *files, folder, {.on_progress = [&](double) {
          growth = std::max(growth, AnonymousMib() - before);
        }});
    if (!status.ok()) {
      state.SkipWithError(status.ToString().c_str());
    }
  };
  const std::string command = "cp " + written.string() + " " + copy.string();
  RunInTurn(state,
            {{"write", write}, {"copy", [&] {
                                  if (std::system(command.c_str()) != 0) {
                                    state.SkipWithError("cp failed");
                                  }
                                  fs::remove(copy);
                                }}});
  state.counters["memory_mib"] = growth;
  state.counters["mb"] = static_cast<double>(fs::file_size(written)) / 1e6;
  fs::remove_all(folder);
}
BENCHMARK(MaterialiseOverCopy)
    ->Iterations(kRounds)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tributary::benchmarks

// Encoding documents on one thread. BENCHMARK_FILES is a folder with
// tokenizer.json and documents.jsonl (a JSON string a line), made by
// rows/data.py.

#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "benchmark/benchmark.h"
#include "common/base/files.h"
#include "common/tokenizer/tokenizer.h"

namespace tributary::benchmarks {
namespace {

void Encode(benchmark::State& state) {
  const char* folder = std::getenv("BENCHMARK_FILES");
  const std::filesystem::path files = folder == nullptr ? "" : folder;
  const auto tokenizer = tokenizer::Tokenizer::Load(files / "tokenizer.json");
  const auto text = ReadFile(files / "documents.jsonl");
  if (!tokenizer.ok() || !text.ok()) {
    state.SkipWithError("no tokenizer.json and documents.jsonl");
    return;
  }
  std::vector<std::string> documents;
  std::istringstream lines(*text);
  for (std::string line; std::getline(lines, line);) {
    documents.push_back(nlohmann::json::parse(line).get<std::string>());
  }
  size_t tokens = 0;
  for ([[maybe_unused]] auto iteration : state) {
    tokens = 0;
    for (const std::string& document : documents) {
      tokens += (*tokenizer)->Encode(document)->size();
    }
  }
  state.counters["tokens"] = static_cast<double>(tokens);
}
// A cold cache of words every time would need a new tokenizer: the first
// encoding warms it, as it does for the peer.
BENCHMARK(Encode)->Unit(benchmark::kMillisecond)->MinWarmUpTime(0.01);

}  // namespace
}  // namespace tributary::benchmarks

#pragma once

// Experts on disk for benchmarks of merging.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/merge/merge.h"

namespace tributary::benchmarks {

struct MergeShape {
  int64_t layers = 8;
  int64_t hidden = 1024;
};

enum class Matrices {
  kRandom,  // every byte is there, for comparisons with copies
  kHoles,   // a sparse file: for work that must not read them
};

// An anchor that experts of this shape fit to.
coordinator::MergeAnchor BenchmarkAnchor(const MergeShape& shape);

// Writes an expert file of one width in all layers with random rows. Aborts
// when that fails.
coordinator::MergeExpert MakeBenchmarkExpert(
    const std::filesystem::path& folder, int64_t index, int64_t width,
    Matrices matrices, const MergeShape& shape);

}  // namespace tributary::benchmarks

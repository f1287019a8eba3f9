#pragma once

// The weights of an exported mixture as safetensors files: one, or shards with
// an index as Hugging Face libraries write and read them.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "coordinator/export/mixture_tensors.h"

namespace tributary::coordinator {

inline constexpr uint64_t kDefaultShardBytes = 5'000'000'000;

struct WeightFile {
  std::string name;             // model-00001-of-00003.safetensors
  std::vector<size_t> tensors;  // indices, ascending
  uint64_t bytes = 0;           // of the tensors
};

// Fills files in order; a tensor larger than `shard_bytes` has its own. One
// file is called model.safetensors. INVALID_ARGUMENT when a size overflows.
StatusOr<std::vector<WeightFile>> PlanWeightFiles(
    const std::vector<safetensors::TensorSpec>& tensors, uint64_t shard_bytes);

struct WeightFileOptions {
  const CancellationToken* cancellation = nullptr;
  std::function<void(double)> on_progress;  // 0 to 1
};

// Writes the files, and model.safetensors.index.json when there are several.
Status WriteWeightFiles(const MixtureTensors& tensors,
                        const std::vector<WeightFile>& files,
                        const std::filesystem::path& folder,
                        const WeightFileOptions& options = {});

// Reads them again: DATA_LOSS naming the first tensor that is not, byte for
// byte, what it should be.
Status CompareWeightFiles(const MixtureTensors& tensors,
                          const std::vector<WeightFile>& files,
                          const std::filesystem::path& folder,
                          const WeightFileOptions& options = {});

}  // namespace tributary::coordinator

#include "coordinator/export/weight_files.h"

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/safetensors/reader.h"
#include "common/safetensors/writer.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using safetensors::TensorSpec;

Status CheckCancelled(const WeightFileOptions& options) {
  return options.cancellation != nullptr ? options.cancellation->Check()
                                         : absl::OkStatus();
}

void Progress(const WeightFileOptions& options, uint64_t done, uint64_t all) {
  if (options.on_progress && all > 0) {
    options.on_progress(static_cast<double>(done) / static_cast<double>(all));
  }
}

uint64_t AllBytes(const std::vector<WeightFile>& files) {
  uint64_t bytes = 0;
  for (const WeightFile& file : files) {
    bytes += file.bytes;
  }
  return bytes;
}

Status WriteIndex(const MixtureTensors& tensors,
                  const std::vector<WeightFile>& files,
                  const fs::path& folder) {
  Json map = Json::object();
  for (const WeightFile& file : files) {
    for (const size_t i : file.tensors) {
      map[tensors.specs()[i].name] = file.name;
    }
  }
  ASSIGN_OR_RETURN(const std::string text,
                   DumpJson({{"metadata", {{"total_size", AllBytes(files)}}},
                             {"weight_map", std::move(map)}},
                            /*indent=*/2));
  return WriteFileAtomic(folder / "model.safetensors.index.json", text + "\n");
}

// Whether a tensor of the file has exactly the bytes that it should have.
StatusOr<bool> IsEqual(const MixtureTensors& tensors, size_t index,
                       std::span<const std::byte> rest) {
  bool equal = true;
  RETURN_IF_ERROR(
      tensors.Emit(index, [&](std::span<const std::byte> bytes) -> Status {
        equal = equal && bytes.size() <= rest.size() &&
                std::memcmp(bytes.data(), rest.data(), bytes.size()) == 0;
        rest = rest.subspan(std::min(bytes.size(), rest.size()));
        return absl::OkStatus();
      }));
  return equal && rest.empty();
}

}  // namespace

StatusOr<std::vector<WeightFile>> PlanWeightFiles(
    const std::vector<TensorSpec>& tensors, uint64_t shard_bytes) {
  std::vector<WeightFile> files(1);
  for (size_t i = 0; i < tensors.size(); ++i) {
    ASSIGN_OR_RETURN(const uint64_t bytes,
                     safetensors::TensorBytes(tensors[i]));
    if (files.back().bytes + bytes > shard_bytes &&
        !files.back().tensors.empty()) {
      files.emplace_back();
    }
    files.back().tensors.push_back(i);
    files.back().bytes += bytes;
  }
  for (size_t i = 0; i < files.size(); ++i) {
    files[i].name = files.size() == 1
                        ? "model.safetensors"
                        : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1,
                                      files.size());
  }
  return files;
}

Status WriteWeightFiles(const MixtureTensors& tensors,
                        const std::vector<WeightFile>& files,
                        const fs::path& folder,
                        const WeightFileOptions& options) {
  const uint64_t all = AllBytes(files);
  uint64_t done = 0;
  for (const WeightFile& file : files) {
    std::vector<TensorSpec> specs;
    for (const size_t i : file.tensors) {
      specs.push_back(tensors.specs()[i]);
    }
    ASSIGN_OR_RETURN(const auto writer, safetensors::Writer::Create(
                                            folder / file.name, specs,
                                            {.metadata = {{"format", "pt"}}}));
    for (const size_t i : file.tensors) {
      RETURN_IF_ERROR(CheckCancelled(options));
      RETURN_IF_ERROR(tensors.Emit(i, [&](std::span<const std::byte> bytes) {
        done += bytes.size();
        return writer->Append(bytes);
      }));
      Progress(options, done, all);
    }
    RETURN_IF_ERROR(writer->Finish());
  }
  return files.size() == 1 ? absl::OkStatus()
                           : WriteIndex(tensors, files, folder);
}

Status CompareWeightFiles(const MixtureTensors& tensors,
                          const std::vector<WeightFile>& files,
                          const fs::path& folder,
                          const WeightFileOptions& options) {
  const uint64_t all = AllBytes(files);
  uint64_t done = 0;
  for (const WeightFile& expected : files) {
    ASSIGN_OR_RETURN(const auto file,
                     safetensors::File::Open(
                         folder / expected.name,
                         {.limits = safetensors::HeaderLimits::ForModel()}));
    if (file->tensors().size() != expected.tensors.size()) {
      return DataLoss("{}: holds {} tensors, wanted {}", file->path().string(),
                      file->tensors().size(), expected.tensors.size());
    }
    for (const size_t i : expected.tensors) {
      RETURN_IF_ERROR(CheckCancelled(options));
      const TensorSpec& spec = tensors.specs()[i];
      const safetensors::TensorInfo* info = file->Find(spec.name);
      if (info == nullptr || info->dtype != spec.dtype ||
          info->shape != spec.shape) {
        return DataLoss("{}: \"{}\" is missing or of another shape",
                        file->path().string(), spec.name);
      }
      ASSIGN_OR_RETURN(const bool equal,
                       IsEqual(tensors, i, file->Bytes(*info)));
      if (!equal) {
        return DataLoss("{}: \"{}\" differs from what was written",
                        file->path().string(), spec.name);
      }
      done += info->bytes();
      Progress(options, done, all);
    }
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator

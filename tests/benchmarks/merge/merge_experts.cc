#include "tests/benchmarks/merge/merge_experts.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <span>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/model_format/expert_layout.h"
#include "common/safetensors/header.h"

namespace tributary::benchmarks {
namespace {

void Check(const Status& status) {
  if (!status.ok()) {
    std::fprintf(stderr, "benchmark set-up: %s\n", status.ToString().c_str());
    std::abort();
  }
}

}  // namespace

coordinator::MergeAnchor BenchmarkAnchor(const MergeShape& shape) {
  return {.name = "benchmark",
          .digest = crypto::Sha256Hex("benchmark"),
          .num_layers = shape.layers,
          .hidden_size = shape.hidden,
          .routing = {.top_k = 2}};
}

coordinator::MergeExpert MakeBenchmarkExpert(
    const std::filesystem::path& folder, int64_t index, int64_t width,
    Matrices matrices, const MergeShape& shape) {
  model_format::ModelConfig config;
  config.num_layers = shape.layers;
  config.hidden_size = shape.hidden;
  config.intermediate_size = width;
  const std::string name = fmt::format("expert-{:05}", index);
  const std::filesystem::path path = folder / (name + ".safetensors");
  const auto layout =
      model_format::ExpertLayout::Uniform(shape.layers, 0, width);
  const auto specs = model_format::ExpertTensors(config, layout);
  Check(specs.status());
  const auto header = safetensors::SerializeHeader(*specs);
  Check(header.status());
  const auto file = OpenFile(path, O_RDWR | O_CREAT | O_TRUNC);
  Check(file.status());
  Check(WriteAll(*file, *header, 0));
  uint64_t position = header->size();
  std::mt19937_64 random(static_cast<uint64_t>(index));
  std::normal_distribution<float> normal;
  crypto::Sha256 rows;
  for (const safetensors::TensorSpec& spec : *specs) {
    const uint64_t bytes = *safetensors::TensorBytes(spec);
    if (spec.dtype == safetensors::DType::kF32) {
      std::vector<float> values(bytes / sizeof(float));
      for (float& value : values) {
        value = normal(random);
      }
      const auto view = std::as_bytes(std::span(values));
      rows.Update(view);
      Check(WriteAll(*file,
                     {reinterpret_cast<const char*>(view.data()), view.size()},
                     position));
    } else if (matrices == Matrices::kRandom) {
      std::string noise(bytes, '\0');
      for (size_t i = 0; i + 8 <= noise.size(); i += 8) {
        const uint64_t word = random();
        std::copy_n(reinterpret_cast<const char*>(&word), 8, noise.data() + i);
      }
      Check(WriteAll(*file, noise, position));
    }
    position += bytes;
  }
  // Merging trusts digests that admission checked: any will do here.
  return {.anchor_digest = crypto::Sha256Hex("benchmark"),
          .entry = {.contribution = name,
                    .contributor = name,
                    .blob = {crypto::Sha256Hex(name), position},
                    .manifest_digest = crypto::Sha256Hex(name + "m"),
                    .widths = layout.widths},
          .rows = coordinator::RowsInExpertFile{path, rows.Hex()}};
}

}  // namespace tributary::benchmarks

#pragma once

// The tensors of a native release under the names and shapes of a Hugging Face
// mixture, produced one after the other as bytes: neither side is held in
// memory.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/manifest/release_manifest.h"
#include "common/model_format/hf_directory.h"
#include "common/model_format/model_config.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/reader.h"

namespace tributary::coordinator {

// Takes the bytes of the tensors, piece by piece.
using ByteSink = std::function<Status(std::span<const std::byte>)>;

class MixtureTensors {
 public:
  // Opens a native release directory. `rows` are the router rows [E, h] fp32
  // of each layer (biases folded in). Errors as HfDirectory::Open and
  // ReleaseManifest::FromJson; INVALID_ARGUMENT for expert files that are not
  // the manifest's or anchors that have no mixture format.
  static StatusOr<std::unique_ptr<MixtureTensors>> Open(
      const std::filesystem::path& release,
      std::vector<std::vector<float>> rows);

  // What a mixture of this release is called, and its config.json.
  model_format::ModelType type() const { return type_; }
  StatusOr<std::string> ConfigJson() const;

  // Names, dtypes and shapes in the order of the file. The anchor's tensors
  // keep their dtypes; experts are bf16 where all FFNs of the anchor are, else
  // fp32; routers are fp32.
  const std::vector<safetensors::TensorSpec>& specs() const { return specs_; }

  // Sends all bytes of one tensor of specs().
  Status Emit(size_t index, const ByteSink& sink) const;

  int64_t num_experts() const {
    return static_cast<int64_t>(experts_.size()) + 1;
  }
  // The width that experts are padded to: the anchor's own.
  int64_t padded_width() const { return anchor_->config().intermediate_size; }

 private:
  using MlpPart = model_format::MlpPart;
  // Where a tensor comes from.
  struct Origin {
    enum class Kind { kAnchor, kExpert, kRouter } kind = Kind::kAnchor;
    std::string name;   // in the anchor or the expert file
    size_t expert = 0;  // kExpert
    MlpPart part = MlpPart::kGate;
    int64_t layer = 0;  // kRouter, kExpert
  };

  MixtureTensors(manifest::ReleaseManifest manifest,
                 std::unique_ptr<model_format::HfDirectory> anchor,
                 std::vector<std::vector<float>> rows);

  Status OpenExperts(const std::filesystem::path& release);
  Status Plan();
  void Add(std::string name, safetensors::DType dtype, safetensors::Shape shape,
           Origin origin);
  void AddLayer(int64_t l);
  Status EmitExpert(const Origin& origin, const ByteSink& sink) const;
  // The matrix that a file gives as a difference to the anchor's.
  Status EmitDifference(const Origin& origin, const ByteSink& sink) const;

  const manifest::ReleaseManifest manifest_;
  const std::unique_ptr<model_format::HfDirectory> anchor_;
  const std::vector<std::vector<float>> rows_;
  std::vector<std::shared_ptr<const safetensors::File>> experts_;
  model_format::ModelType type_ = model_format::ModelType::kMixtral;
  safetensors::DType dtype_ = safetensors::DType::kBF16;  // of experts
  std::vector<safetensors::TensorSpec> specs_;
  std::vector<Origin> origins_;
};

}  // namespace tributary::coordinator

#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "common/base/status.h"
#include "common/model_format/model_config.h"
#include "common/safetensors/reader.h"

namespace tributary::model_format {

// A parameter that a model of some config has; its dtype is the file's choice.
struct ParameterSpec {
  std::string name;
  safetensors::Shape shape;
};

// All parameters of a Hugging Face checkpoint of this config, in the order of
// the computation. `lm_head.weight` only without tied embeddings.
std::vector<ParameterSpec> ModelParameters(const ModelConfig& config);

// A tensor and the file that holds it.
struct TensorReference {
  const safetensors::File* file = nullptr;
  const safetensors::TensorInfo* info = nullptr;

  std::span<const std::byte> bytes() const { return file->Bytes(*info); }
};

// A model directory that is complete: config.json, model.safetensors or
// model.safetensors.index.json with its shards, tokenizer.json.
class HfDirectory {
 public:
  // Opens and checks everything but the values. NOT_FOUND when a file is
  // missing; INVALID_ARGUMENT naming the first parameters that are missing, not
  // expected, of another shape or not floating point, or for a faulty file;
  // UNIMPLEMENTED as ParseModelConfig. A directory without tokenizer.json is
  // accepted: tokenizer_path() is empty then.
  static StatusOr<std::unique_ptr<HfDirectory>> Open(
      const std::filesystem::path& directory);

  const ModelConfig& config() const { return config_; }
  const std::filesystem::path& path() const { return path_; }
  const std::filesystem::path& tokenizer_path() const {
    return tokenizer_path_;
  }
  // The safetensors files: one, or the shards by name.
  const std::vector<std::shared_ptr<const safetensors::File>>& files() const {
    return files_;
  }
  // Every file that makes up the model, relative to the directory, sorted:
  // config.json, the index, the weights, tokenizer.json.
  std::vector<std::filesystem::path> ModelFiles() const;

  // A parameter by its checkpoint key. NOT_FOUND names it and the directory.
  // Experts that the files store fused (transformers 5 can) are found by their
  // own names: a reference is a part of the fused tensor then. The one expert
  // of a dense olmoe is found by the names of a dense FFN.
  StatusOr<TensorReference> Find(std::string_view name) const;

 private:
  HfDirectory(std::filesystem::path path, ModelConfig config)
      : path_(std::move(path)), config_(std::move(config)) {}
  Status OpenWeights();
  Status SplitFusedExperts();
  void NameDenseExpert();
  Status SplitFused(const std::string& fused, const safetensors::Shape& wanted,
                    const std::vector<ParameterSpec>& parts);
  Status CheckParameters() const;

  const std::filesystem::path path_;
  const ModelConfig config_;
  std::filesystem::path tokenizer_path_;
  bool sharded_ = false;
  std::vector<std::shared_ptr<const safetensors::File>> files_;
  std::unordered_map<std::string, TensorReference> tensors_;
  std::deque<safetensors::TensorInfo> parts_;  // of fused tensors
};

}  // namespace tributary::model_format

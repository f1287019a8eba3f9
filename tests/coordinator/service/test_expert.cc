#include "tests/coordinator/service/test_expert.h"

#include <cstring>
#include <random>

#include "common/crypto/digest.h"
#include "common/manifest/expert_file_check.h"
#include "common/model_format/expert_layout.h"
#include "common/safetensors/float_convert.h"
#include "common/safetensors/reader.h"
#include "common/safetensors/writer.h"

namespace tributary::coordinator {
namespace {

// Small values of either dtype.
std::vector<std::byte> RandomValues(const safetensors::TensorSpec& spec,
                                    std::mt19937& random) {
  std::vector<std::byte> bytes(*safetensors::TensorBytes(spec));
  std::uniform_real_distribution<float> value(-0.05f, 0.05f);
  const size_t size = safetensors::DTypeSize(spec.dtype);
  for (size_t at = 0; at < bytes.size(); at += size) {
    const float number = value(random);
    const uint16_t narrow = safetensors::FloatToBf16(number);
    std::memcpy(bytes.data() + at,
                size == 2 ? static_cast<const void*>(&narrow) : &number, size);
  }
  return bytes;
}

}  // namespace

StatusOr<TestExpert> MakeTestExpert(const manifest::AnchorManifest& anchor,
                                    const std::filesystem::path& folder,
                                    const TestExpertOptions& options,
                                    const crypto::PrivateKey& key) {
  model_format::ModelConfig config;
  config.num_layers = anchor.model.num_layers;
  config.hidden_size = anchor.model.hidden_size;
  config.intermediate_size = anchor.model.intermediate_size;
  const auto layout = model_format::ExpertLayout::Uniform(
      config.num_layers, anchor.expert_policy.first_layer, anchor.model.block);
  ASSIGN_OR_RETURN(const auto specs,
                   model_format::ExpertTensors(config, layout));
  std::mt19937 random(static_cast<unsigned>(options.seed));
  const std::filesystem::path path =
      folder / (options.contribution + ".safetensors");
  ASSIGN_OR_RETURN(const auto writer, safetensors::Writer::Create(path, specs));
  for (const safetensors::TensorSpec& spec : specs) {
    RETURN_IF_ERROR(writer->Append(RandomValues(spec, random)));
  }
  RETURN_IF_ERROR(writer->Finish());

  TestExpert expert;
  ASSIGN_OR_RETURN(expert.bytes, ReadFile(path));
  ASSIGN_OR_RETURN(const auto file, safetensors::File::Open(path));
  ASSIGN_OR_RETURN(const manifest::ExpertFileFacts facts,
                   manifest::DescribeExpertFile(*file));
  manifest::ExpertManifest& manifest = expert.manifest;
  manifest.federation = options.federation;
  manifest.contribution = options.contribution;
  manifest.contributor = options.contributor;
  ASSIGN_OR_RETURN(manifest.anchor_digest, anchor.Digest());
  manifest.blob = {crypto::Sha256Hex(expert.bytes), expert.bytes.size()};
  manifest.widths = layout.widths;
  manifest.tensors = facts.tensors;
  manifest.router_digest = facts.router_digest;
  manifest.method.recipe = "train";
  manifest.method.importance = "mean_abs";
  manifest.method.router_method = "logistic";
  manifest.method.folded = true;
  manifest.method.steps = 1;
  manifest.method.tokens = 64;
  manifest.method.documents = 8;
  manifest.method.epochs = 1;
  manifest.method.learning_rate = 1e-3;
  manifest.method.software = "test";
  manifest.privacy.minimum_documents = 8;
  manifest.approval = {.approver = "someone",
                       .policy_version = "1",
                       .time_s = 1,
                       .mode = "person"};
  ASSIGN_OR_RETURN(expert.envelope_json,
                   manifest::SignExpertManifest(manifest, key));
  return expert;
}

}  // namespace tributary::coordinator

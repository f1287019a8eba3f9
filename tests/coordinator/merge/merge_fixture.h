#pragma once

// Experts with random rows and any widths for the tests of merging.

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/manifest/expert_file_check.h"
#include "common/model_format/expert_layout.h"
#include "common/safetensors/reader.h"
#include "common/safetensors/writer.h"
#include "coordinator/merge/merge.h"

namespace tributary::coordinator {

class MergeFixture : public testing::Test {
 protected:
  static constexpr int64_t kLayers = 3;
  static constexpr int64_t kHidden = 4;

  void SetUp() override {
    auto directory = TemporaryDirectory::Create("merge");
    ASSERT_TRUE(directory.ok());
    directory_.emplace(*std::move(directory));
    anchor_ = {.name = "anchor",
               .digest = crypto::Sha256Hex("anchor"),
               .num_layers = kLayers,
               .hidden_size = kHidden,
               .routing = {.top_k = 2}};
  }

  std::filesystem::path Path(const std::string& name) const {
    return directory_->path() / name;
  }

  // An expert file and its manifest. All rows are `value` where it is given,
  // else random by `seed`; widths are multiples of 128, 1024 where there is a
  // rank.
  manifest::ExpertManifest MakeManifest(
      const std::string& name, const std::vector<int64_t>& widths,
      std::optional<float> value = std::nullopt, unsigned seed = 0,
      const std::vector<int64_t>& ranks = {}) const {
    model_format::ModelConfig config;
    config.num_layers = kLayers;
    config.hidden_size = kHidden;
    config.intermediate_size = 1 << 10;
    const auto specs = model_format::ExpertTensors(
        config, {widths, ranks}, {.max_width = config.intermediate_size});
    EXPECT_TRUE(specs.ok()) << specs.status();
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    auto writer = safetensors::Writer::Create(Path(name), *specs);
    for (const safetensors::TensorSpec& spec : *specs) {
      std::vector<float> floats(*safetensors::TensorBytes(spec) / 4);
      for (float& number : floats) {
        number = value.value_or(normal(random));
      }
      EXPECT_TRUE((*writer)->Append(std::as_bytes(std::span(floats))).ok());
    }
    EXPECT_TRUE((*writer)->Finish().ok());
    const auto file = safetensors::File::Open(Path(name));
    const auto facts = manifest::DescribeExpertFile(**file);
    EXPECT_TRUE(facts.ok()) << facts.status();
    const auto digest = crypto::DigestFile(Path(name));
    manifest::ExpertManifest manifest;
    manifest.federation = "test";
    manifest.contribution = name;
    manifest.contributor = "owner-" + name;
    manifest.anchor_digest = anchor_.digest;
    manifest.blob = {digest->sha256, digest->size};
    manifest.widths = widths;
    manifest.tensors = facts->tensors;
    manifest.router_digest = facts->router_digest;
    manifest.method.recipe = "train";
    manifest.method.importance = "x";
    manifest.method.router_method = "logistic";
    manifest.method.software = "test";
    manifest.approval = {
        .approver = "a", .policy_version = "1", .time_s = 1, .mode = "person"};
    return manifest;
  }

  MergeExpert Make(const std::string& name, float value,
                   int64_t width = 128) const {
    return *MergeExpertOf(MakeManifest(name, {0, 0, width}, value), Path(name));
  }

  StatusOr<manifest::ReleaseManifest> Run(std::vector<MergeExpert> experts,
                                          const std::string& name) const {
    return Merge({.anchor = anchor_, .experts = std::move(experts)},
                 Path(name));
  }

  std::string Bytes(const std::string& name) const {
    return *ReadFile(Path(name));
  }

  std::optional<TemporaryDirectory> directory_;
  MergeAnchor anchor_;
};

}  // namespace tributary::coordinator

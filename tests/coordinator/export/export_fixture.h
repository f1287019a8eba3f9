#pragma once

// Releases with experts of unequal width in a temporary folder, and Python to
// read what becomes of them.

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/model/load_release.h"
#include "coordinator/export/export_hugging_face.h"
#include "tests/common/model/test_models.h"
#include "tests/coordinator/test_release.h"

namespace tributary::coordinator {

class ExportFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    auto created = TemporaryDirectory::Create("tributary-export-");
    ASSERT_TRUE(created.ok());
    directory_.emplace(*std::move(created));
  }

  std::filesystem::path Path(const std::string& name) const {
    return directory_->path() / name;
  }

  // Runs a script of python and returns what it prints, a JSON object.
  Json Python(const std::string& arguments) const {
    const std::filesystem::path out = Path("out.json");
    const std::filesystem::path log = Path("log");
    const std::string command = std::string(TRIBUTARY_PYTHON) + " " +
                                TRIBUTARY_SOURCE_DIR + "/tests/" + arguments +
                                " > " + out.string() + " 2> " + log.string();
    EXPECT_EQ(std::system(command.c_str()), 0) << ReadFile(log).value_or("");
    return ParseJson(ReadFile(out).value_or("")).value_or(Json());
  }

  // Exports a release and compares transformers' logits with our own of the
  // release.
  void ExpectExact(const std::filesystem::path& release,
                   const std::string& type) const {
    const std::filesystem::path output = Path("exported");
    const auto result =
        ExportHuggingFace({.release_directory = release, .output = output});
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_LT(result->max_logit_difference, 1e-3);
    EXPECT_EQ(result->max_fold_difference, 0);
    const auto lm = model::LoadModel(release);
    ASSERT_TRUE(lm.ok()) << lm.status();
    at::manual_seed(3);
    const at::Tensor ids =
        at::randint(lm->config.vocab_size, {3, 50}, at::kLong);
    at::NoGradGuard no_gradients;
    const at::Tensor logits = model::Logits(*lm, model::HiddenStates(*lm, ids));
    const std::filesystem::path wanted = Path("wanted.safetensors");
    ASSERT_TRUE(
        model::WriteTensors(wanted, {{"input_ids", ids}, {"logits", logits}})
            .ok());
    const Json report = Python("coordinator/export/check_export.py " +
                               output.string() + " " + wanted.string());
    EXPECT_EQ(report["class"], type);
    EXPECT_EQ(report["problems"].dump(), "[]");
    EXPECT_LT(report["difference"].get<double>(), 1e-3);
  }

  static std::vector<model::Expert> Experts(
      const model_format::ModelConfig& config,
      const std::vector<std::vector<int64_t>>& widths) {
    std::vector<model::Expert> experts;
    for (size_t i = 0; i < widths.size(); ++i) {
      experts.push_back(model::RandomExpert(config, widths[i],
                                            "expert-" + std::to_string(i),
                                            static_cast<int>(i) + 40));
    }
    return experts;
  }

  static model_format::ModelConfig TinyConfig() {
    return *model_format::LoadModelConfig(model::TinyAnchor());
  }

  std::optional<TemporaryDirectory> directory_;
};

}  // namespace tributary::coordinator

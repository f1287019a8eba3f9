// The tasks of `model ...`, called as the worker calls them.

#include "common/worker/model_tasks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "common/base/files.h"
#include "common/model/tensor_io.h"
#include "tests/common/model/test_models.h"

namespace tributary::worker {
namespace {

using nlohmann::json;

// Exchanges the buffer of a standard stream while it lives.
class Redirect {
 public:
  Redirect(std::ios& stream, std::streambuf* buffer)
      : stream_(stream), before_(stream.rdbuf(buffer)) {}
  ~Redirect() { stream_.rdbuf(before_); }

 private:
  std::ios& stream_;
  std::streambuf* const before_;
};

class ModelTasksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto created = TemporaryDirectory::Create("tributary-tasks-");
    ASSERT_TRUE(created.ok());
    directory_.emplace(*std::move(created));
    AddModelTasks(registry_);
    job_.set_output_directory(directory_->path().string());
    job_.set_threads(2);
  }

  Status Run(const job::Task& task, job::TaskResult* result) {
    std::any shared;
    const CancellationToken cancellation;
    const TaskContext context(job_, 2, cancellation, shared,
                              [](double, std::string_view) {});
    return registry_.at(task.kind_case())(task, context, result);
  }

  TaskRegistry registry_;
  job::Job job_;
  std::optional<TemporaryDirectory> directory_;
};

TEST_F(ModelTasksTest, InspectDescribesAnchorAndExperts) {
  const auto path = directory_->path() / "expert.safetensors";
  model::NamedTensors tensors;
  for (int l = 0; l < 4; ++l) {
    const std::string prefix = "layers." + std::to_string(l) + ".";
    if (l == 2) {
      tensors.emplace_back(prefix + "gate_proj.weight", at::zeros({128, 128}));
      tensors.emplace_back(prefix + "up_proj.weight", at::zeros({128, 128}));
      tensors.emplace_back(prefix + "down_proj.weight", at::zeros({128, 128}));
    }
    tensors.emplace_back(prefix + "router.weight", at::zeros({128}));
    tensors.emplace_back(prefix + "router.bias", at::zeros({}));
  }
  ASSERT_TRUE(model::WriteTensors(path, tensors).ok());
  job::Task task;
  auto* model = task.mutable_model_inspect()->mutable_model();
  model->set_directory(model::TinyAnchor().string());
  model->add_expert_paths(path.string());
  job::TaskResult result;
  const Status status = Run(task, &result);
  ASSERT_TRUE(status.ok()) << status;
  const json found = json::parse(result.model_inspect().description_json());
  EXPECT_EQ(found["kind"], "anchor");
  EXPECT_EQ(found["num_layers"], 4);
  EXPECT_EQ(found["num_experts"], 2);
  EXPECT_EQ(found["experts"][0]["widths"], json({0, 0, 128, 0}));
  EXPECT_EQ(
      found["parameters"]["total"].get<int64_t>(),
      found["parameters"]["anchor"].get<int64_t>() + 3 * 128 * 128 + 4 * 129);
}

TEST_F(ModelTasksTest, PrecisionsAreNearEachOtherOrRefused) {
  const auto logits = [&](const std::string& precision) {
    job::Task task;
    auto& request = *task.mutable_model_logits();
    request.mutable_model()->set_directory(model::TinyAnchor().string());
    request.mutable_model()->set_precision(precision);
    request.set_input_path(model::Reference("logits.safetensors").string());
    request.set_output_name("out.safetensors");
    job::TaskResult result;
    EXPECT_TRUE(Run(task, &result).ok()) << precision;
    const auto file = safetensors::File::Open(result.model_logits().path());
    return *model::ReadTensor(**file, "logits");
  };
  const at::Tensor exact = logits("fp32");
  const auto distance = [&](const std::string& precision) {
    return (logits(precision) - exact).abs().max().item<double>();
  };
  // The fixture's weights are bf16: keeping them so changes nothing.
  EXPECT_LT(distance("bf16"), 1e-5);
  EXPECT_GT(distance("bf16-products"), 1e-5);
  EXPECT_LT(distance("bf16-products"), 0.5);
  EXPECT_LT(distance(""), 1e-6);

  job::Task task;
  auto& request = *task.mutable_model_logits();
  request.mutable_model()->set_directory(model::TinyAnchor().string());
  request.mutable_model()->set_precision("fp8");
  request.set_input_path(model::Reference("logits.safetensors").string());
  request.set_output_name("out.safetensors");
  job::TaskResult result;
  EXPECT_THAT(
      Run(task, &result).ToString(),
      ::testing::HasSubstr("got \"fp8\", wanted fp32, bf16 or bf16-products"));
}

TEST_F(ModelTasksTest, LogitsAndEvaluationAgree) {
  const auto input = model::Reference("logits.safetensors");
  job::Task task;
  task.mutable_model_logits()->mutable_model()->set_directory(
      model::TinyAnchor().string());
  task.mutable_model_logits()->set_input_path(input.string());
  task.mutable_model_logits()->set_output_name("out.safetensors");
  job::TaskResult result;
  ASSERT_TRUE(Run(task, &result).ok());
  EXPECT_EQ(result.model_logits().shape(2), 2048);
  const auto wanted = safetensors::File::Open(
      input, {.limits = safetensors::HeaderLimits::ForModel()});
  const auto got = safetensors::File::Open(result.model_logits().path());
  ASSERT_TRUE(wanted.ok() && got.ok());
  const at::Tensor logits = *model::ReadTensor(**got, "logits");
  EXPECT_LT((logits - *model::ReadTensor(**wanted, "logits"))
                .abs()
                .max()
                .item<double>(),
            1e-4);

  job::Task evaluate;
  *evaluate.mutable_model_evaluate()->mutable_model() =
      task.model_logits().model();
  evaluate.mutable_model_evaluate()->set_input_path(input.string());
  job::TaskResult evaluated;
  ASSERT_TRUE(Run(evaluate, &evaluated).ok());
  const at::Tensor ids = *model::ReadTensor(**wanted, "input_ids");
  const double loss =
      at::cross_entropy_loss(logits.slice(1, 0, -1).flatten(0, 1),
                             ids.slice(1, 1).flatten())
          .item<double>();
  EXPECT_NEAR(evaluated.model_evaluate().losses(0).log_loss(), loss, 1e-4);

  // A path outside the output folder is refused.
  task.mutable_model_logits()->set_output_name("../out.safetensors");
  EXPECT_EQ(Run(task, &result).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ModelTasksTest, EvaluatesTextAndRefusesNeitherOrBoth) {
  job::Task task;
  auto* request = task.mutable_model_evaluate();
  request->mutable_model()->set_directory(model::TinyAnchor().string());
  job::TaskResult result;
  EXPECT_EQ(Run(task, &result).code(), absl::StatusCode::kInvalidArgument);
  request->add_text_paths(std::string(TRIBUTARY_SOURCE_DIR) +
                          "/tests/fixtures/text/public_heldout.jsonl");
  request->set_window_tokens(128);
  request->set_max_windows(16);
  const Status status = Run(task, &result);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_NEAR(result.model_evaluate().losses(0).log_loss(), 4.77, 0.05);
  EXPECT_EQ(result.model_evaluate().losses(0).tokens(), 16 * 127);
}

TEST_F(ModelTasksTest, GenerationStreamsItsText) {
  job::Task task;
  auto* request = task.mutable_model_generate();
  request->mutable_model()->set_directory(model::TinyAnchor().string());
  request->set_prompt("The table");
  request->set_max_tokens(8);
  std::ostringstream out;
  job::TaskResult result;
  {
    const Redirect redirect(std::cout, out.rdbuf());
    const Status status = Run(task, &result);
    ASSERT_TRUE(status.ok()) << status;
  }
  EXPECT_LE(result.model_generate().token_ids_size(), 8);
  EXPECT_EQ(out.str(), result.model_generate().text() + "\n");
}

TEST_F(ModelTasksTest, TokenizeGoesBothWays) {
  job::Task task;
  task.mutable_model_tokenize()->set_model_directory(
      model::TinyAnchor().string());
  const std::string text = "Grüße, table 12\n\n  two  spaces\n";
  std::istringstream lines(text);
  std::ostringstream ids;
  job::TaskResult result;
  {
    const Redirect in(std::cin, lines.rdbuf());
    const Redirect out(std::cout, ids.rdbuf());
    std::cin.clear();
    ASSERT_TRUE(Run(task, &result).ok());
  }
  EXPECT_EQ(result.model_tokenize().lines(), 3);
  task.mutable_model_tokenize()->set_decode(true);
  std::istringstream id_lines(ids.str());
  std::ostringstream decoded;
  {
    const Redirect in(std::cin, id_lines.rdbuf());
    const Redirect out(std::cout, decoded.rdbuf());
    std::cin.clear();
    ASSERT_TRUE(Run(task, &result).ok());
  }
  std::istringstream back(decoded.str());
  std::string joined;
  for (std::string line; std::getline(back, line);) {
    joined += json::parse(line).get<std::string>() + "\n";
  }
  EXPECT_EQ(joined, text);
}

}  // namespace
}  // namespace tributary::worker

#include "common/worker/model_tasks.h"

#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "common/base/json.h"
#include "common/evaluation/generate.h"
#include "common/evaluation/log_loss.h"
#include "common/evaluation/logits_file.h"
#include "common/evaluation/text_windows.h"
#include "common/kernels/products.h"
#include "common/model/describe.h"
#include "common/model/load_release.h"
#include "common/model/runtime.h"
#include "common/model/tensor_io.h"
#include "common/tokenizer/tokenizer.h"

namespace tributary::worker {
namespace {

namespace fs = std::filesystem;
using tokenizer::DecodeOptions;
using tokenizer::EncodeOptions;
using tokenizer::Tokenizer;

// Follows ModelSource.precision.
Status SetPrecision(const std::string& precision, model::LoadOptions& options) {
  const bool narrow = precision == "bf16" || precision == "bf16-products";
  if (!narrow && !precision.empty() && precision != "fp32") {
    return InvalidArgument(
        "precision: got \"{}\", wanted fp32, bf16 or bf16-products", precision);
  }
  options.dtype = narrow ? at::kBFloat16 : at::kFloat;
  kernels::SetProductPrecision(precision == "bf16-products"
                                   ? kernels::ProductPrecision::kBf16
                                   : kernels::ProductPrecision::kFp32);
  return absl::OkStatus();
}

StatusOr<std::unique_ptr<Tokenizer>> LoadTokenizer(const fs::path& directory) {
  return Tokenizer::Load(model::ModelFilesDirectory(directory) /
                         "tokenizer.json");
}

StatusOr<at::Tensor> ReadIds(const std::string& path, int64_t vocab_size) {
  ASSIGN_OR_RETURN(
      const auto file,
      safetensors::File::Open(
          path, {.limits = safetensors::HeaderLimits::ForModel()}));
  return model::ReadTokenIds(*file, "input_ids", vocab_size);
}

Status Inspect(const job::Task& task, const TaskContext&,
               job::TaskResult* result) {
  ASSIGN_OR_RETURN(
      const Json description,
      model::DescribeModel(FromProto(task.model_inspect().model())));
  ASSIGN_OR_RETURN(*result->mutable_model_inspect()->mutable_description_json(),
                   DumpJson(description));
  return absl::OkStatus();
}

Status Logits(const job::Task& task, const TaskContext& context,
              job::TaskResult* result) {
  const job::ModelLogits& request = task.model_logits();
  const fs::path name = request.output_name();
  if (name.empty() || name.has_parent_path() || name == "..") {
    return InvalidArgument("output_name: got \"{}\", wanted a file name",
                           request.output_name());
  }
  ASSIGN_OR_RETURN(const model::CausalLm lm,
                   LoadModel(request.model(), context));
  ASSIGN_OR_RETURN(const at::Tensor ids,
                   ReadIds(request.input_path(), lm.config.vocab_size));
  const fs::path output = context.output_directory / name;
  RETURN_IF_ERROR(evaluation::WriteLogits(
      lm, ids, output,
      {.on_progress =
           [&](double fraction) { context.Report(fraction, "logits"); },
       .cancellation = &context.cancellation}));
  auto* written = result->mutable_model_logits();
  written->set_path(output.string());
  for (const int64_t size : {ids.size(0), ids.size(1), lm.config.vocab_size}) {
    written->add_shape(size);
  }
  return absl::OkStatus();
}

StatusOr<evaluation::LogLoss> EvaluateText(
    const job::ModelEvaluate& request, const model::CausalLm& lm,
    const evaluation::LogLossOptions& options) {
  ASSIGN_OR_RETURN(const auto tokenizer,
                   LoadTokenizer(request.model().directory()));
  const std::vector<fs::path> paths(request.text_paths().begin(),
                                    request.text_paths().end());
  ASSIGN_OR_RETURN(
      const evaluation::Windows windows,
      evaluation::CutTextWindows(
          *tokenizer, paths,
          {.window_tokens =
               request.window_tokens() > 0 ? request.window_tokens() : 256,
           .max_windows = request.max_windows(),
           .rest = evaluation::WindowOptions::Rest::kKeep}));
  if (windows.empty()) {
    return InvalidArgument("the text has no document of 2 tokens or more");
  }
  for (const auto& window : windows) {
    if (*std::max_element(window.begin(), window.end()) >=
        lm.config.vocab_size) {
      return InvalidArgument(
          "the tokenizer has ids beyond the model's vocabulary of {}",
          lm.config.vocab_size);
    }
  }
  return evaluation::EvaluateWindows(lm, windows, options);
}

Status Evaluate(const job::Task& task, const TaskContext& context,
                job::TaskResult* result) {
  const job::ModelEvaluate& request = task.model_evaluate();
  const bool text = request.text_paths_size() > 0;
  if (text != request.input_path().empty()) {
    return InvalidArgument("wanted either text or token ids, got {}",
                           text ? "both" : "neither");
  }
  if (request.window_tokens() < 0 || request.max_windows() < 0) {
    return InvalidArgument(
        "got {} tokens a window and {} windows, wanted 0 "
        "or more of each",
        request.window_tokens(), request.max_windows());
  }
  ASSIGN_OR_RETURN(const model::CausalLm lm,
                   LoadModel(request.model(), context));
  const evaluation::LogLossOptions options = {
      .on_progress = [&](double done) { context.Report(done, "log-loss"); },
      .cancellation = &context.cancellation};
  evaluation::LogLoss loss;
  if (text) {
    ASSIGN_OR_RETURN(loss, EvaluateText(request, lm, options));
  } else {
    ASSIGN_OR_RETURN(at::Tensor ids,
                     ReadIds(request.input_path(), lm.config.vocab_size));
    if (request.max_windows() > 0) {
      ids = ids.narrow(0, 0,
                       std::min<int64_t>(request.max_windows(), ids.size(0)));
    }
    ASSIGN_OR_RETURN(loss, evaluation::EvaluateWindows(lm, ids, options));
  }
  auto* entry = result->mutable_model_evaluate()->add_losses();
  entry->set_label("model");
  entry->set_log_loss(loss.mean);
  entry->set_tokens(loss.tokens);
  entry->mutable_window_losses()->Assign(loss.window_means.begin(),
                                         loss.window_means.end());
  return absl::OkStatus();
}

Status Generate(const job::Task& task, const TaskContext& context,
                job::TaskResult* result) {
  const job::ModelGenerate& request = task.model_generate();
  ASSIGN_OR_RETURN(const auto tokenizer,
                   LoadTokenizer(request.model().directory()));
  ASSIGN_OR_RETURN(
      const std::vector<int32_t> prompt,
      tokenizer->Encode(request.prompt(),
                        {.special_tokens = EncodeOptions::Template::kApply}));
  ASSIGN_OR_RETURN(const model::CausalLm lm,
                   LoadModel(request.model(), context));
  const auto print = [&](int32_t id) {
    if (!tokenizer->IsSpecial(id)) {
      std::cout << tokenizer->TokenBytes(id).value_or("") << std::flush;
    }
  };
  ASSIGN_OR_RETURN(
      const evaluation::Generated generated,
      evaluation::Generate(
          lm, prompt,
          {.max_tokens = request.max_tokens() > 0 ? request.max_tokens() : 64,
           .temperature = request.temperature(),
           .seed = request.seed(),
           .on_token = print,
           .cancellation = &context.cancellation}));
  std::cout << std::endl;
  auto* made = result->mutable_model_generate();
  ASSIGN_OR_RETURN(
      *made->mutable_text(),
      tokenizer->Decode(generated.ids,
                        {.special = DecodeOptions::Special::kSkip}));
  made->mutable_token_ids()->Assign(generated.ids.begin(), generated.ids.end());
  made->set_finish_reason(
      generated.end == evaluation::Generated::End::kEndOfText ? "eos"
                                                              : "length");
  made->set_tokens_per_second(generated.tokens_per_second);
  return absl::OkStatus();
}

// A line with a JSON array of ids, as ids.
StatusOr<std::vector<int32_t>> ParseIds(const std::string& line) {
  ASSIGN_OR_RETURN(const Json value, ParseJson(line));
  if (!value.is_array()) {
    return InvalidArgument("wanted a JSON array of token ids");
  }
  std::vector<int32_t> ids;
  for (const Json& id : value) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > INT32_MAX) {
      return InvalidArgument("got {}, wanted a token id", id.dump());
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

StatusOr<Json> ConvertLine(const Tokenizer& tokenizer, const std::string& line,
                           bool decode, int64_t* tokens) {
  if (decode) {
    ASSIGN_OR_RETURN(const std::vector<int32_t> ids, ParseIds(line));
    *tokens += static_cast<int64_t>(ids.size());
    ASSIGN_OR_RETURN(const std::string text, tokenizer.Decode(ids));
    return Json(text);
  }
  ASSIGN_OR_RETURN(
      const std::vector<int32_t> ids,
      tokenizer.Encode(line,
                       {.special_tokens = EncodeOptions::Template::kApply}));
  *tokens += static_cast<int64_t>(ids.size());
  return Json(ids);
}

Status Tokenize(const job::Task& task, const TaskContext& context,
                job::TaskResult* result) {
  const job::ModelTokenize& request = task.model_tokenize();
  ASSIGN_OR_RETURN(const auto tokenizer,
                   LoadTokenizer(request.model_directory()));
  int64_t lines = 0;
  int64_t tokens = 0;
  std::string line;
  while (std::getline(std::cin, line)) {
    RETURN_IF_ERROR(context.cancellation.Check());
    ++lines;
    const StatusOr<Json> converted =
        ConvertLine(*tokenizer, line, request.decode(), &tokens);
    if (!converted.ok()) {
      return Annotate(converted.status(), fmt::format("line {}", lines));
    }
    ASSIGN_OR_RETURN(const std::string text, DumpJson(*converted));
    std::cout << text << '\n' << std::flush;
  }
  result->mutable_model_tokenize()->set_lines(lines);
  result->mutable_model_tokenize()->set_tokens(tokens);
  return absl::OkStatus();
}

}  // namespace

model::Source FromProto(const job::ModelSource& source) {
  model::Source plain;
  plain.directory = source.directory();
  plain.expert_paths.assign(source.expert_paths().begin(),
                            source.expert_paths().end());
  plain.router_paths.assign(source.router_paths().begin(),
                            source.router_paths().end());
  plain.top_k = source.top_k();
  plain.force_public = source.force_public();
  return plain;
}

StatusOr<model::LoadOptions> LoadOptionsFor(const TaskContext& context) {
  ASSIGN_OR_RETURN(const at::Device device,
                   model::PrepareRuntime(
                       {.threads = context.threads, .device = context.device}));
  return model::LoadOptions{.device = device,
                            .cancellation = &context.cancellation};
}

StatusOr<model::CausalLm> LoadModel(const job::ModelSource& source,
                                    const TaskContext& context) {
  ASSIGN_OR_RETURN(model::LoadOptions options, LoadOptionsFor(context));
  RETURN_IF_ERROR(SetPrecision(source.precision(), options));
  context.Report(0.0, "loading the model");
  return model::LoadSource(FromProto(source), options);
}

void AddModelTasks(TaskRegistry& registry) {
  registry[job::Task::kModelInspect] = Inspect;
  registry[job::Task::kModelLogits] = Logits;
  registry[job::Task::kModelEvaluate] = Evaluate;
  registry[job::Task::kModelGenerate] = Generate;
  registry[job::Task::kModelTokenize] = Tokenize;
}

}  // namespace tributary::worker

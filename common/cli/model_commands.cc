#include "common/cli/model_commands.h"

#include <cmath>
#include <memory>

#include "common/cli/model_options.h"
#include "common/cli/worker_call.h"

namespace tributary::cli {
namespace {

using Streams = jobs::RunOptions::StandardStreams;

Status FillSource(const ModelOptions& options, job::ModelSource* source,
                  WorkerCall* call) {
  call->threads = options.threads;
  call->device = options.device;
  return FillModelSource(options, source, &call->read_paths);
}

void AddInspect(CommandLine& line, CLI::App& group, const std::string& worker) {
  auto options = std::make_shared<ModelOptions>();
  CLI::App* command = line.AddCommand(
      group, "inspect", "Sizes, experts and widths of a model",
      [options, worker](const CommandContext& context) -> Status {
        WorkerCall call = {.worker_name = worker};
        RETURN_IF_ERROR(FillSource(
            *options, call.task.mutable_model_inspect()->mutable_model(),
            &call));
        ASSIGN_OR_RETURN(const job::TaskResult result,
                         CallWorker(call, context));
        const auto description = nlohmann::json::parse(
            result.model_inspect().description_json(), nullptr, false);
        context.output.Print(description.dump(2), description);
        return absl::OkStatus();
      });
  DeclareModelOptions(command, *options);
}

void AddLogits(CommandLine& line, CLI::App& group, const std::string& worker) {
  struct Options : ModelOptions {
    std::string input;
    std::string output;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = line.AddCommand(
      group, "logits", "Logits of token ids",
      [options, worker](const CommandContext& context) -> Status {
        WorkerCall call = {.worker_name = worker};
        auto* task = call.task.mutable_model_logits();
        RETURN_IF_ERROR(FillSource(*options, task->mutable_model(), &call));
        ASSIGN_OR_RETURN(const auto input,
                         ExistingPath(options->input, "--input"));
        call.read_paths.push_back(input);
        task->set_input_path(input.string());
        task->set_output_name("logits.safetensors");
        call.output_name = "logits.safetensors";
        call.output_file = options->output;
        ASSIGN_OR_RETURN(const job::TaskResult result,
                         CallWorker(call, context));
        const std::vector<int64_t> shape(result.model_logits().shape().begin(),
                                         result.model_logits().shape().end());
        context.output.Print("wrote " + options->output,
                             {{"output", options->output}, {"shape", shape}});
        return absl::OkStatus();
      });
  DeclareModelOptions(command, *options);
  command
      ->add_option("--input", options->input,
                   "safetensors with input_ids int64 [B, S]")
      ->required();
  command
      ->add_option("--output", options->output,
                   "safetensors with logits float32 [B, S, V]")
      ->required();
}

void AddEvaluate(CommandLine& line, CLI::App& group,
                 const std::string& worker) {
  struct Options : ModelOptions {
    std::vector<std::string> texts;
    std::string input;
    int window_tokens = 256;
    int max_windows = 0;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = line.AddCommand(
      group, "evaluate", "Log-loss and perplexity on text or token ids",
      [options, worker](const CommandContext& context) -> Status {
        WorkerCall call = {.worker_name = worker};
        auto* task = call.task.mutable_model_evaluate();
        RETURN_IF_ERROR(FillSource(*options, task->mutable_model(), &call));
        for (const std::string& text : options->texts) {
          ASSIGN_OR_RETURN(const auto path, ExistingPath(text, "--text"));
          task->add_text_paths(path.string());
          call.read_paths.push_back(path);
        }
        if (!options->input.empty()) {
          ASSIGN_OR_RETURN(const auto path,
                           ExistingPath(options->input, "--input"));
          task->set_input_path(path.string());
          call.read_paths.push_back(path);
        }
        task->set_window_tokens(options->window_tokens);
        task->set_max_windows(options->max_windows);
        ASSIGN_OR_RETURN(const job::TaskResult result,
                         CallWorker(call, context));
        if (result.model_evaluate().losses_size() != 1) {
          return Internal("worker: got {} losses, wanted 1",
                          result.model_evaluate().losses_size());
        }
        const job::ModelLoss& loss = result.model_evaluate().losses(0);
        const double perplexity = std::exp(loss.log_loss());
        context.output.Print(
            fmt::format("tokens      {}\nlog-loss    {:.4f} nats per token\n"
                        "perplexity  {:.3f}",
                        loss.tokens(), loss.log_loss(), perplexity),
            {{"tokens", loss.tokens()},
             {"log_loss", loss.log_loss()},
             {"perplexity", perplexity},
             {"window_losses",
              std::vector<double>(loss.window_losses().begin(),
                                  loss.window_losses().end())}});
        return absl::OkStatus();
      });
  DeclareModelOptions(command, *options);
  auto* text = command->add_option("--text", options->texts,
                                   "Text file or folder (repeatable)");
  auto* input = command->add_option("--input", options->input,
                                    "safetensors with input_ids int64 [B, S]");
  text->excludes(input);
  command
      ->add_option("--window-tokens", options->window_tokens,
                   "Tokens per window of text")
      ->capture_default_str();
  command
      ->add_option("--max-windows", options->max_windows,
                   "At most this many windows; 0 for all")
      ->capture_default_str();
}

void AddGenerate(CommandLine& line, CLI::App& group,
                 const std::string& worker) {
  struct Options : ModelOptions {
    std::string prompt;
    int max_tokens = 64;
    double temperature = 0.0;
    uint64_t seed = 0;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = line.AddCommand(
      group, "generate", "Continue a prompt",
      [options, worker](const CommandContext& context) -> Status {
        WorkerCall call = {.worker_name = worker};
        auto* task = call.task.mutable_model_generate();
        RETURN_IF_ERROR(FillSource(*options, task->mutable_model(), &call));
        task->set_prompt(options->prompt);
        task->set_max_tokens(options->max_tokens);
        task->set_temperature(options->temperature);
        task->set_seed(options->seed);
        call.streams =
            context.output.json() ? Streams::kClosed : Streams::kInherited;
        ASSIGN_OR_RETURN(const job::TaskResult result,
                         CallWorker(call, context));
        const auto& generated = result.model_generate();
        const nlohmann::json value = {
            {"text", generated.text()},
            {"token_ids", std::vector<int>(generated.token_ids().begin(),
                                           generated.token_ids().end())},
            {"finish_reason", generated.finish_reason()},
            {"tokens_per_second", generated.tokens_per_second()}};
        context.output.Print("", value);
        context.output.Note(fmt::format(
            "[{} tokens, {:.1f} a second, ended by {}]",
            generated.token_ids_size(), generated.tokens_per_second(),
            generated.finish_reason()));
        return absl::OkStatus();
      });
  DeclareModelOptions(command, *options);
  command->add_option("--prompt", options->prompt, "Text to continue")
      ->required();
  command->add_option("--max-tokens", options->max_tokens, "Tokens to make")
      ->capture_default_str();
  command
      ->add_option("--temperature", options->temperature,
                   "0 takes the likeliest token")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Seed of sampling")
      ->capture_default_str();
}

void AddTokenize(CommandLine& line, CLI::App& group,
                 const std::string& worker) {
  struct Options {
    std::string model;
    bool decode = false;
  };
  auto options = std::make_shared<Options>();
  CLI::App* command = line.AddCommand(
      group, "tokenize",
      "Lines of standard input to token ids as JSON lines, or back",
      [options, worker](const CommandContext& context) -> Status {
        ASSIGN_OR_RETURN(const auto model,
                         ExistingPath(options->model, "--model"));
        WorkerCall call = {.worker_name = worker};
        auto* task = call.task.mutable_model_tokenize();
        task->set_model_directory(model.string());
        task->set_decode(options->decode);
        call.read_paths.push_back(model);
        call.threads = 1;
        call.streams = Streams::kInherited;
        return CallWorker(call, context).status();
      });
  command->add_option("--model", options->model, "Folder with tokenizer.json")
      ->required();
  command->add_flag("--decode", options->decode,
                    "Lines of JSON arrays of ids to JSON strings");
}

}  // namespace

void AddModelCommands(CommandLine& command_line,
                      const std::string& worker_name) {
  CLI::App& group =
      *command_line.AddGroup("model", "Look at, run and measure a model");
  AddInspect(command_line, group, worker_name);
  AddLogits(command_line, group, worker_name);
  AddEvaluate(command_line, group, worker_name);
  AddGenerate(command_line, group, worker_name);
  AddTokenize(command_line, group, worker_name);
}

}  // namespace tributary::cli

#include "coordinator/commands/release_compare_command.h"

#include <map>
#include <memory>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/cli/worker_call.h"
#include "coordinator/commands/release_lookup.h"
#include "coordinator/report/comparison.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

struct CompareOptions {
  std::string name = "latest";
  std::vector<std::string> texts;  // NAME=PATH
  std::string output;
  int window_tokens = 256;
  int max_windows = 16;
  int router_epochs = 2;
  int upcycling_steps = 64;
  uint64_t seed = 0;
  int threads = 0;
};

// The contribution that a text's name means: a contribution, or an owner with
// exactly one; otherwise nobody's.
std::string OwnerOf(const ReleaseFacts& facts, const std::string& name) {
  std::vector<std::string> of_contributor;
  for (const ExpertFacts& expert : facts.experts) {
    if (expert.entry.contribution == name) {
      return name;
    }
    if (expert.entry.contributor == name) {
      of_contributor.push_back(expert.entry.contribution);
    }
  }
  return of_contributor.size() == 1 ? of_contributor[0] : "";
}

Status AddTexts(const CompareOptions& options, const ReleaseFacts& facts,
                job::CompareRelease* task, cli::WorkerCall* call) {
  std::map<std::string, job::ComparedText*> texts;
  for (const std::string& argument : options.texts) {
    const size_t equals = argument.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return InvalidArgument("--text: got '{}', wanted NAME=PATH", argument);
    }
    const std::string name = argument.substr(0, equals);
    ASSIGN_OR_RETURN(const fs::path path,
                     cli::ExistingPath(argument.substr(equals + 1), "--text"));
    job::ComparedText*& text = texts[name];
    if (text == nullptr) {
      text = task->add_texts();
      text->set_name(name);
      text->set_contribution(OwnerOf(facts, name));
    }
    text->add_paths(path.string());
    call->read_paths.push_back(path);
  }
  return absl::OkStatus();
}

Status CompareCommand(const CompareOptions& options, const std::string& worker,
                      const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const FoundRelease found,
                   FindServedRelease(Home(context.home), options.name));
  ASSIGN_OR_RETURN(const ReleaseFacts facts, ReadReleaseFacts(found.folder));
  const fs::path output = fs::absolute(options.output).lexically_normal();
  cli::WorkerCall call = {.worker_name = worker,
                          .threads = options.threads,
                          .seed = options.seed,
                          .output_file = output,
                          .output_name = "comparison.json"};
  call.read_paths.push_back(found.folder);
  auto* task = call.task.mutable_compare_release();
  task->set_release_directory(found.folder.string());
  RETURN_IF_ERROR(AddTexts(options, facts, task, &call));
  task->set_window_tokens(options.window_tokens);
  task->set_max_windows(options.max_windows);
  task->set_router_epochs(options.router_epochs > 0 ? options.router_epochs
                                                    : -1);
  task->set_upcycling_steps(
      options.upcycling_steps > 0 ? options.upcycling_steps : -1);
  const fs::path tokens =
      found.folder / "anchor" / "public" / "tokens.safetensors";
  std::error_code error;
  if (fs::exists(tokens, error)) {
    task->set_public_tokens_path(tokens.string());
  }
  RETURN_IF_ERROR(CallWorker(call, context).status());
  ASSIGN_OR_RETURN(const std::string text, ReadFile(output));
  ASSIGN_OR_RETURN(const Json json, ParseJson(text));
  ASSIGN_OR_RETURN(const Comparison comparison, Comparison::FromJson(json));
  const auto kept = comparison.LeastGainKept("release");
  const auto ratio = comparison.PublicPerplexityRatio("release");
  context.output.Print(
      ComparisonTable(comparison) + "wrote " + output.string(),
      {{"output", output.string()},
       {"comparison", json},
       {"least_gain_kept", kept ? Json(*kept) : Json(nullptr)},
       {"public_perplexity_ratio", ratio ? Json(*ratio) : Json(nullptr)}});
  return absl::OkStatus();
}

}  // namespace

void AddReleaseCompareCommand(cli::CommandLine& command_line, CLI::App& group,
                              const std::string& worker_name) {
  auto options = std::make_shared<CompareOptions>();
  CLI::App* command = command_line.AddCommand(
      group, "compare",
      "Measure a release beside other ways to make one model of its experts",
      [options, worker_name](const cli::CommandContext& context) {
        return CompareCommand(*options, worker_name, context);
      });
  command
      ->add_option("name", options->name,
                   "Number, 'latest' or a release folder")
      ->capture_default_str();
  command
      ->add_option("--text", options->texts,
                   "NAME=PATH of held-out text files or folders (repeatable); "
                   "NAME of a contribution or its owner: its own text")
      ->required();
  command->add_option("--output", options->output, "JSON file to write")
      ->required();
  command
      ->add_option("--window-tokens", options->window_tokens,
                   "Tokens per window of text")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--max-windows", options->max_windows,
                   "At most this many windows of each text")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--router-epochs", options->router_epochs,
                   "Passes over public text that train the fresh router; 0 "
                   "leaves that mix out")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--upcycling-steps", options->upcycling_steps,
                   "Public windows that train the upcycled copies; 0 leaves "
                   "them out")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Of fresh routers and orders")
      ->capture_default_str();
  command->add_option("--threads", options->threads,
                      "Compute threads (default: all cores)");
}

}  // namespace tributary::coordinator

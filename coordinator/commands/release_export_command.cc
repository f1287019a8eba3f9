#include "coordinator/commands/release_export_command.h"

#include <cmath>
#include <memory>

#include "common/base/files.h"
#include "common/base/names.h"
#include "common/base/text.h"
#include "common/cli/worker_call.h"
#include "common/crypto/digest.h"
#include "coordinator/commands/merge_files.h"
#include "coordinator/commands/release_lookup.h"
#include "coordinator/merge/release_directory.h"
#include "coordinator/report/model_card.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

struct ExportOptions {
  std::string name = "latest";
  std::string as;
  std::string output;
  std::string shard_size = "5GB";
  std::string licence;
};

// "5GB", "500 MB", "2GiB" in bytes.
StatusOr<uint64_t> ParseSize(const std::string& text) {
  size_t end = 0;
  double number = 0;
  try {
    number = std::stod(text, &end);
  } catch (const std::exception&) {
    end = 0;
  }
  std::string unit = text.substr(end);
  std::erase(unit, ' ');
  constexpr std::pair<const char*, double> kUnits[] = {
      {"MB", 1e6}, {"GB", 1e9}, {"MiB", 1024.0 * 1024}, {"GiB", 1 << 30}};
  for (const auto& [name, factor] : kUnits) {
    if (end > 0 && unit == name && number > 0 && number * factor < 1e18) {
      return static_cast<uint64_t>(std::llround(number * factor));
    }
  }
  return InvalidArgument(
      "--shard-size: got '{}', wanted a size such as 5GB, 500MB or 2GiB", text);
}

// A call about a release folder; `path` is where the result goes.
cli::WorkerCall CallFor(const fs::path& folder, const fs::path& path,
                        const std::string& worker) {
  cli::WorkerCall call = {.worker_name = worker};
  call.read_paths.push_back(folder);
  call.output_name = "export";
  call.output_file = path;
  return call;
}

std::string StatisticsOf(const fs::path& folder) {
  return (folder / "anchor" / "public" / "statistics.safetensors").string();
}

StatusOr<ReleaseFacts> FactsOf(const FoundRelease& found,
                               const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(ReleaseFacts facts, ReadReleaseFacts(found.folder));
  if (found.number) {
    RETURN_IF_ERROR(AddHomeFacts(Home(context.home), *found.number, facts));
  }
  return facts;
}

Status ToHuggingFace(const ExportOptions& options, const FoundRelease& found,
                     const fs::path& output, const std::string& worker,
                     const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const uint64_t shard_bytes, ParseSize(options.shard_size));
  ASSIGN_OR_RETURN(const ReleaseFacts facts, FactsOf(found, context));
  cli::WorkerCall call = CallFor(found.folder, output, worker);
  auto* task = call.task.mutable_export_hugging_face();
  task->set_release_directory(found.folder.string());
  task->set_output_name(call.output_name);
  task->set_public_statistics_path(StatisticsOf(found.folder));
  task->set_shard_bytes(shard_bytes);
  task->set_readme(ModelCard(facts, options.licence));
  ASSIGN_OR_RETURN(const job::TaskResult result, CallWorker(call, context));
  const auto& exported = result.export_hugging_face();
  context.output.Print(
      fmt::format(
          "wrote {}: {} experts padded to {} channels, {} in {} weight "
          "file{}, read again and equal tensor by tensor\nlargest logit "
          "difference to the native release {:.2e} on {} tokens; of folding "
          "biases {:.2e}",
          output.string(), exported.experts(), exported.padded_width(),
          HumanBytes(exported.weight_bytes()), exported.weight_files(),
          exported.weight_files() == 1 ? "" : "s",
          exported.max_logit_difference(), exported.compared_tokens(),
          exported.max_fold_difference()),
      {{"output", output.string()},
       {"experts", exported.experts()},
       {"padded_width", exported.padded_width()},
       {"weight_files", exported.weight_files()},
       {"weight_bytes", exported.weight_bytes()},
       {"max_logit_difference", exported.max_logit_difference()},
       {"max_fold_difference", exported.max_fold_difference()},
       {"compared_tokens", exported.compared_tokens()}});
  return absl::OkStatus();
}

Status ToGguf(const FoundRelease& found, const fs::path& output,
              const std::string& worker, const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const ReleaseFacts facts, ReadReleaseFacts(found.folder));
  cli::WorkerCall call = CallFor(found.folder, output, worker);
  auto* task = call.task.mutable_export_gguf();
  task->set_release_directory(found.folder.string());
  task->set_output_name(call.output_name);
  task->set_public_statistics_path(StatisticsOf(found.folder));
  task->set_name(facts.release.anchor.name + " " + facts.name() + " " +
                 facts.digest.substr(0, 12));
  ASSIGN_OR_RETURN(const job::TaskResult result, CallWorker(call, context));
  const auto& exported = result.export_gguf();
  context.output.Print(
      fmt::format(
          "wrote {}: {} experts padded to {} channels, {} tensors, {}, read "
          "again\nlargest logit difference to the native release {:.2e} on {} "
          "tokens; of folding biases {:.2e}",
          output.string(), exported.experts(), exported.padded_width(),
          exported.tensors(), HumanBytes(exported.file_bytes()),
          exported.max_logit_difference(), exported.compared_tokens(),
          exported.max_fold_difference()),
      {{"output", output.string()},
       {"experts", exported.experts()},
       {"padded_width", exported.padded_width()},
       {"tensors", exported.tensors()},
       {"file_bytes", exported.file_bytes()},
       {"max_logit_difference", exported.max_logit_difference()},
       {"max_fold_difference", exported.max_fold_difference()},
       {"compared_tokens", exported.compared_tokens()}});
  return absl::OkStatus();
}

// Links the folder and reads every file that its manifest names again.
Status ToNative(const FoundRelease& found, const fs::path& output,
                const cli::CommandContext& context) {
  const fs::path partial = output.string() + ".partial";
  std::error_code error;
  fs::remove_all(partial, error);
  RETURN_IF_ERROR(LinkTree(found.folder, partial));
  ASSIGN_OR_RETURN(const ReleaseFacts facts, ReadReleaseFacts(partial));
  const ReleaseDirectory names(partial);
  const auto check = [&](const fs::path& path,
                         const manifest::BlobName& wanted) -> Status {
    ASSIGN_OR_RETURN(const crypto::FileDigest got,
                     crypto::DigestFile(path, &context.cancellation));
    if (manifest::BlobName{got.sha256, got.size} != wanted) {
      return DataLoss("{}: got SHA-256 {} and {} bytes, wanted {}",
                      path.string(), got.sha256, got.size, wanted.ToString());
    }
    return absl::OkStatus();
  };
  Status status = check(names.router(), facts.release.router_blob);
  for (const ExpertFacts& expert : facts.experts) {
    if (status.ok()) {
      status =
          check(names.expert(expert.entry.contribution), expert.entry.blob);
    }
  }
  if (!status.ok()) {
    fs::remove_all(partial, error);
    return status;
  }
  fs::rename(partial, output, error);
  if (error) {
    return ErrnoStatus(error.value(), "rename to " + output.string());
  }
  context.output.Print(
      fmt::format("wrote {}: router and {} expert files have their digests",
                  output.string(), facts.experts.size()),
      {{"output", output.string()}, {"experts", facts.experts.size()}});
  return absl::OkStatus();
}

StatusOr<fs::path> NewOutput(const std::string& text) {
  const fs::path output = fs::absolute(text).lexically_normal();
  std::error_code error;
  if (fs::exists(output, error)) {
    return AlreadyExists("{}: is there already; choose another --output",
                         output.string());
  }
  return output;
}

Status ExportCommand(const ExportOptions& options, const std::string& worker,
                     const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const FoundRelease found,
                   FindServedRelease(Home(context.home), options.name));
  ASSIGN_OR_RETURN(const fs::path output, NewOutput(options.output));
  if (options.as == "huggingface") {
    return ToHuggingFace(options, found, output, worker, context);
  }
  return options.as == "gguf" ? ToGguf(found, output, worker, context)
                              : ToNative(found, output, context);
}

struct ImportOptions {
  std::string model;
  std::string name;
  std::string output;
};

Status ImportCommand(const ImportOptions& options, const std::string& worker,
                     const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const fs::path model,
                   cli::ExistingPath(options.model, "--model"));
  ASSIGN_OR_RETURN(const fs::path output, NewOutput(options.output));
  constexpr size_t kMaxName = 50;  // the experts' names are longer
  if (!IsValidName(options.name) || options.name.size() > kMaxName) {
    return InvalidArgument(
        "--name: got '{}', wanted 1 to {} of a-z, 0-9 and -, not - at an end",
        options.name, kMaxName);
  }
  cli::WorkerCall call = CallFor(model, output, worker);
  auto* task = call.task.mutable_split_mixture();
  task->set_model_directory(model.string());
  task->set_output_name(call.output_name);
  task->set_name(options.name);
  ASSIGN_OR_RETURN(const job::TaskResult result, CallWorker(call, context));
  const auto& split = result.split_mixture();
  context.output.Print(
      fmt::format("wrote {}: an anchor and {} experts\nlargest logit "
                  "difference to the mixture {:.2e} on {} tokens{}",
                  output.string(), split.experts(),
                  split.max_logit_difference(), split.compared_tokens(),
                  split.rounded() ? "; experts were rounded to bf16" : ""),
      {{"output", output.string()},
       {"experts", split.experts()},
       {"max_logit_difference", split.max_logit_difference()},
       {"compared_tokens", split.compared_tokens()},
       {"rounded", split.rounded()}});
  return absl::OkStatus();
}

}  // namespace

void AddReleaseExportCommands(cli::CommandLine& command_line, CLI::App& group,
                              const std::string& worker_name) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command = command_line.AddCommand(
      group, "export", "Write a release for other programs",
      [options, worker_name](const cli::CommandContext& context) {
        return ExportCommand(*options, worker_name, context);
      });
  command
      ->add_option("name", options->name,
                   "Number, 'latest' or a release folder")
      ->capture_default_str();
  command->add_option("--as", options->as, "Format")
      ->check(CLI::IsMember({"huggingface", "gguf", "native"}))
      ->required();
  command
      ->add_option("--output", options->output,
                   "Folder to make (gguf: file to make)")
      ->required();
  command
      ->add_option("--shard-size", options->shard_size,
                   "Largest weight file (huggingface): MB, GB, MiB, GiB")
      ->capture_default_str();
  command->add_option("--licence", options->licence,
                      "Licence that the model card names (default: the "
                      "anchor's own)");

  auto import = std::make_shared<ImportOptions>();
  CLI::App* import_command = command_line.AddCommand(
      group, "import-model",
      "Take a Hugging Face mixture apart into an anchor and experts",
      [import, worker_name](const cli::CommandContext& context) {
        return ImportCommand(*import, worker_name, context);
      });
  import_command
      ->add_option("--model", import->model,
                   "mixtral, olmoe or flex_olmo directory")
      ->required();
  import_command
      ->add_option("--name", import->name, "Name of the anchor and its experts")
      ->required();
  import_command
      ->add_option("--output", import->output, "Release folder to make")
      ->required();
}

}  // namespace tributary::coordinator

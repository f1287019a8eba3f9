#include "coordinator/commands/offline_release_commands.h"

#include <charconv>
#include <memory>

#include "common/base/files.h"
#include "common/base/text.h"
#include "common/cli/worker_call.h"
#include "common/crypto/certificate.h"
#include "common/manifest/resource_name.h"
#include "coordinator/commands/merge_files.h"
#include "coordinator/merge/release_directory.h"
#include "coordinator/storage/database.h"
#include "coordinator/storage/home.h"
#include "coordinator/storage/release_store.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

struct MergeOptions {
  std::string anchor;
  std::string release;
  std::vector<std::string> without;
  std::vector<std::string> contributions;
  std::string output;
};

StatusOr<ContributionFiles> ParseContribution(const std::string& argument) {
  const size_t colon = argument.rfind(':');
  if (colon == std::string::npos) {
    return InvalidArgument(
        "--contribution: got '{}', wanted ENVELOPE:EXPERT_FILE", argument);
  }
  ContributionFiles files;
  ASSIGN_OR_RETURN(files.envelope, cli::ExistingPath(argument.substr(0, colon),
                                                     "--contribution"));
  ASSIGN_OR_RETURN(files.expert, cli::ExistingPath(argument.substr(colon + 1),
                                                   "--contribution"));
  return files;
}

Status MergeCommand(const MergeOptions& options,
                    const cli::CommandContext& context) {
  if (options.anchor.empty() == options.release.empty()) {
    return InvalidArgument("wanted either --anchor-dir or --release, got {}",
                           options.anchor.empty() ? "neither" : "both");
  }
  if (options.release.empty() && !options.without.empty()) {
    return InvalidArgument("--without leaves experts of --release out");
  }
  MergeFilesOptions files = {
      .without = options.without,
      .output = fs::absolute(options.output).lexically_normal()};
  if (!options.anchor.empty()) {
    ASSIGN_OR_RETURN(files.anchor,
                     cli::ExistingPath(options.anchor, "--anchor-dir"));
  } else {
    ASSIGN_OR_RETURN(files.release,
                     cli::ExistingPath(options.release, "--release"));
  }
  for (const std::string& argument : options.contributions) {
    ASSIGN_OR_RETURN(ContributionFiles added, ParseContribution(argument));
    files.contributions.push_back(std::move(added));
  }
  const fs::path& output = files.output;
  ASSIGN_OR_RETURN(const manifest::ReleaseManifest release, MergeFiles(files));
  ASSIGN_OR_RETURN(const std::string digest, release.Digest());
  context.output.Print(
      fmt::format("merged {} experts into {}, digest {}",
                  release.experts.size(), output.string(), digest),
      {{"output", output.string()},
       {"experts", release.experts.size()},
       {"digest", digest}});
  return absl::OkStatus();
}

Status VerifyCommand(const std::string& directory,
                     const std::string& certificate,
                     const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const fs::path folder,
                   cli::ExistingPath(directory, "release verify"));
  const fs::path signer = certificate.empty()
                              ? Home(context.home).certificate("signer")
                              : fs::path(certificate);
  StatusOr<crypto::Certificate> loaded = crypto::Certificate::Load(signer);
  RETURN_IF_ERROR(Annotate(loaded.status(),
                           "the signer's certificate (--signer or --home)"));
  ASSIGN_OR_RETURN(const VerifiedRelease verified,
                   VerifyRelease(folder, loaded->public_key()));
  std::string text = fmt::format("{} is genuine: {} files, {}, digest {}",
                                 verified.statement.release, verified.files,
                                 HumanBytes(verified.bytes), verified.digest);
  for (const std::string& name : verified.unchecked) {
    text += "\nnot checked: " + name;
  }
  context.output.Print(text, {{"release", verified.statement.release},
                              {"digest", verified.digest},
                              {"files", verified.files},
                              {"bytes", verified.bytes},
                              {"unchecked", verified.unchecked}});
  return absl::OkStatus();
}

// The folder of a release in this home that is still served.
StatusOr<fs::path> ServedRelease(const Home& home, const std::string& name) {
  StatusOr<std::unique_ptr<Database>> database =
      Database::Open(home.database(), Database::Mode::kReadOnly);
  RETURN_IF_ERROR(database.status());
  std::optional<ReleaseRow> row;
  if (name == "latest" || name == "releases/latest") {
    RETURN_IF_ERROR((*database)->Transact([&](Transaction& transaction) {
      row = ReleaseStore(transaction).Latest();
      return absl::OkStatus();
    }));
  } else {
    const std::string full =
        manifest::FullResourceName(manifest::Collection::kReleases, name);
    ASSIGN_OR_RETURN(const int64_t number, manifest::ParseReleaseName(full));
    RETURN_IF_ERROR((*database)->Transact([&](Transaction& transaction) {
      row = ReleaseStore(transaction).Find(number);
      return absl::OkStatus();
    }));
  }
  if (!row) {
    return NotFound("release {}: there is none; `release list` shows all",
                    name);
  }
  if (!row->served()) {
    return FailedPrecondition("releases/{} is {}{}{}: it cannot be exported",
                              row->number, ToString(row->state),
                              row->reason.empty() ? "" : ", ", row->reason);
  }
  return home.release(row->number);
}

struct ExportOptions {
  std::string name = "latest";
  std::string as;
  std::string output;
};

Status ExportHuggingFace(const fs::path& folder, const fs::path& output,
                         const std::string& worker,
                         const cli::CommandContext& context) {
  constexpr char kName[] = "export";
  cli::WorkerCall call = {.worker_name = worker};
  auto* task = call.task.mutable_export_hugging_face();
  task->set_release_directory(folder.string());
  task->set_output_name(kName);
  const fs::path statistics =
      folder / "anchor" / "public" / "statistics.safetensors";
  task->set_public_statistics_path(statistics.string());
  call.read_paths.push_back(folder);
  call.output_name = kName;
  call.output_file = output;
  ASSIGN_OR_RETURN(const job::TaskResult result, CallWorker(call, context));
  const auto& exported = result.export_hugging_face();
  context.output.Print(
      fmt::format(
          "wrote {}: {} experts padded to {} channels, read again and equal "
          "tensor by tensor\nlargest logit difference to the native release "
          "{:.2e} on {} tokens; of folding biases {:.2e}",
          output.string(), exported.experts(), exported.padded_width(),
          exported.max_logit_difference(), exported.compared_tokens(),
          exported.max_fold_difference()),
      {{"output", output.string()},
       {"experts", exported.experts()},
       {"padded_width", exported.padded_width()},
       {"max_logit_difference", exported.max_logit_difference()},
       {"max_fold_difference", exported.max_fold_difference()},
       {"compared_tokens", exported.compared_tokens()}});
  return absl::OkStatus();
}

Status ExportCommand(const ExportOptions& options, const std::string& worker,
                     const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const fs::path folder,
                   ServedRelease(Home(context.home), options.name));
  const fs::path output = fs::absolute(options.output).lexically_normal();
  std::error_code error;
  if (fs::exists(output, error)) {
    return absl::AlreadyExistsError(
        output.string() + ": is there already; choose another --output");
  }
  if (options.as == "huggingface") {
    return ExportHuggingFace(folder, output, worker, context);
  }
  RETURN_IF_ERROR(LinkTree(folder, output));
  context.output.Print("wrote " + output.string(),
                       {{"output", output.string()}});
  return absl::OkStatus();
}

}  // namespace

void AddOfflineReleaseCommands(cli::CommandLine& command_line, CLI::App& group,
                               const std::string& worker_name) {
  auto merge = std::make_shared<MergeOptions>();
  CLI::App* merge_command = command_line.AddCommand(
      group, "merge",
      "Merge explicit files: the same bytes as a server's build",
      [merge](const cli::CommandContext& context) {
        return MergeCommand(*merge, context);
      });
  merge_command->add_option("--anchor-dir", merge->anchor,
                            "anchor/ of a release or of a coordinator's home");
  merge_command->add_option(
      "--release", merge->release,
      "Start from the experts of this release folder instead");
  merge_command->add_option("--without", merge->without,
                            "Contribution of --release to leave out "
                            "(repeatable)");
  merge_command->add_option("--contribution", merge->contributions,
                            "ENVELOPE:EXPERT_FILE (repeatable)");
  merge_command->add_option("--output", merge->output, "Folder to make")
      ->required();

  struct VerifyOptions {
    std::string directory;
    std::string signer;
  };
  auto verify = std::make_shared<VerifyOptions>();
  CLI::App* verify_command = command_line.AddCommand(
      group, "verify", "Check signatures and every digest of a release folder",
      [verify](const cli::CommandContext& context) {
        return VerifyCommand(verify->directory, verify->signer, context);
      });
  verify_command->add_option("directory", verify->directory, "Release folder")
      ->required();
  verify_command->add_option("--signer", verify->signer,
                             "Signer's certificate (default: this home's)");

  auto options = std::make_shared<ExportOptions>();
  CLI::App* export_command = command_line.AddCommand(
      group, "export", "Write a release for other programs",
      [options, worker_name](const cli::CommandContext& context) {
        return ExportCommand(*options, worker_name, context);
      });
  export_command->add_option("name", options->name, "Number or 'latest'")
      ->capture_default_str();
  export_command->add_option("--as", options->as, "Format")
      ->check(CLI::IsMember({"huggingface", "native"}))
      ->required();
  export_command->add_option("--output", options->output, "Folder to make")
      ->required();
}

}  // namespace tributary::coordinator

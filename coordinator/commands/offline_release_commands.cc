#include "coordinator/commands/offline_release_commands.h"

#include <memory>

#include "common/base/files.h"
#include "common/base/text.h"
#include "common/cli/worker_call.h"
#include "common/crypto/certificate.h"
#include "common/manifest/model_signature.h"
#include "coordinator/commands/config_file.h"
#include "coordinator/commands/merge_files.h"
#include "coordinator/merge/release_directory.h"
#include "coordinator/storage/home.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

constexpr uint64_t kMaxBundleBytes = 64 << 20;
// A reader's program marks copies of withdrawn releases with it.
constexpr char kWithdrawnFile[] = "WITHDRAWN";

struct MergeOptions {
  std::string anchor;
  std::string release;
  std::vector<std::string> without;
  std::vector<std::string> contributions;
  std::string output;
  std::string router;
  std::vector<std::string> statistics;
};

// Runs the worker for a router that is not made of contributors' rows.
auto RouterMaker(const cli::CommandContext& context,
                 const std::string& worker) {
  return
      [&context, worker](
          const std::string& mode, const RouterMaterial& material,
          const fs::path& router) -> StatusOr<std::map<std::string, double>> {
        // Those of the coordinator whose home this is; defaults elsewhere.
        const StatusOr<Settings> settings = LoadSettings(Home(context.home));
        const RoutingSettings routing =
            settings.ok() ? settings->routing : RoutingSettings();
        const job::Job job = RouterJob(mode, material, routing, "router");
        cli::WorkerCall call = {.worker_name = worker,
                                .task = job.tasks(0),
                                .seed = job.seed(),
                                .output_file = router,
                                .output_name = router.filename().string()};
        call.read_paths.assign(job.read_paths().begin(),
                               job.read_paths().end());
        std::error_code error;
        fs::remove(router, error);
        RETURN_IF_ERROR(cli::CallWorker(call, context).status());
        return RouterSettingsOf(mode, routing);
      };
}

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

Status MergeCommand(const MergeOptions& options, const std::string& worker,
                    const cli::CommandContext& context) {
  if (!options.router.empty() && !IsRouterMode(options.router)) {
    return InvalidArgument(
        "--router: got '{}', wanted discriminant, trained, ridge or tuned",
        options.router);
  }
  if (const std::string caution = RouterModeCaution(options.router);
      !caution.empty()) {
    context.output.Note("warning: " + caution);
  }
  if (options.anchor.empty() == options.release.empty()) {
    return InvalidArgument("wanted either --anchor-dir or --release, got {}",
                           options.anchor.empty() ? "neither" : "both");
  }
  if (options.release.empty() && !options.without.empty()) {
    return InvalidArgument("--without leaves experts of --release out");
  }
  MergeFilesOptions files = {
      .without = options.without,
      .output = fs::absolute(options.output).lexically_normal(),
      .router_mode = options.router,
      .make_router = RouterMaker(context, worker)};
  for (const std::string& argument : options.statistics) {
    const size_t equals = argument.find('=');
    if (equals == std::string::npos) {
      return InvalidArgument("--statistics: got '{}', wanted NAME=FILE",
                             argument);
    }
    ASSIGN_OR_RETURN(
        files.statistics[argument.substr(0, equals)],
        cli::ExistingPath(argument.substr(equals + 1), "--statistics"));
  }
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

// Whether the folder has a model.sig, which then has to fit every file.
StatusOr<bool> CheckModelSignature(const fs::path& folder,
                                   const crypto::PublicKey& signer,
                                   const std::string& release,
                                   const cli::CommandContext& context) {
  const fs::path path = folder / manifest::kModelSignatureFile;
  std::error_code error;
  if (!fs::exists(path, error)) {
    return false;
  }
  ASSIGN_OR_RETURN(const std::string bundle, ReadFile(path, kMaxBundleBytes));
  StatusOr<manifest::ModelStatement> statement =
      manifest::OpenModelSignature(bundle, signer);
  RETURN_IF_ERROR(Annotate(statement.status(), path.string()));
  // One that `release sign` made later bears the folder's name.
  if (statement->name.rfind("releases/", 0) == 0 &&
      statement->name != release) {
    return Unauthenticated("{}: is that of {}, wanted {}", path.string(),
                           statement->name, release);
  }
  // A mark that somebody else set later says nothing against the files.
  statement->ignored.push_back(kWithdrawnFile);
  RETURN_IF_ERROR(
      manifest::CheckModelFiles(*statement, folder, &context.cancellation));
  return true;
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
  ASSIGN_OR_RETURN(const bool has_signature,
                   CheckModelSignature(folder, loaded->public_key(),
                                       verified.statement.release, context));
  std::string text = fmt::format("{} is genuine: {} files, {}, digest {}",
                                 verified.statement.release, verified.files,
                                 HumanBytes(verified.bytes), verified.digest);
  text += has_signature ? "\nmodel.sig covers every file, and nothing else is "
                          "there"
                        : "\nno model.sig: what other files are there was not "
                          "checked";
  for (const std::string& name : verified.unchecked) {
    text += "\nnot checked: " + name;
  }
  context.output.Print(text, {{"release", verified.statement.release},
                              {"digest", verified.digest},
                              {"files", verified.files},
                              {"bytes", verified.bytes},
                              {"model_signature", has_signature},
                              {"unchecked", verified.unchecked}});
  return absl::OkStatus();
}

}  // namespace

void AddOfflineReleaseCommands(cli::CommandLine& command_line, CLI::App& group,
                               const std::string& worker_name) {
  auto merge = std::make_shared<MergeOptions>();
  CLI::App* merge_command = command_line.AddCommand(
      group, "merge",
      "Merge explicit files: the same bytes as a server's build",
      [merge, worker_name](const cli::CommandContext& context) {
        return MergeCommand(*merge, worker_name, context);
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
  merge_command->add_option("--router", merge->router,
                            "discriminant (default), trained, ridge or tuned");
  merge_command->add_option("--statistics", merge->statistics,
                            "With --router ridge: CONTRIBUTION=FILE "
                            "(repeatable)");
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
}

}  // namespace tributary::coordinator

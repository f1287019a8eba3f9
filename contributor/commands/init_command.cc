#include <memory>

#include "common/base/files.h"
#include "common/base/text.h"
#include "common/manifest/invitation.h"
#include "common/manifest/resource_name.h"
#include "contributor/client/enrol.h"
#include "contributor/commands/commands.h"
#include "contributor/commands/common.h"
#include "contributor/commands/config_text.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;

struct InitOptions {
  std::string invitation;
  std::string recipe = "train";
  std::string approval = "person";
  std::string retry_for = kShortRetry;
  uint64_t seed = 0;
  ConfigChoices choices;
};

// Absolute, so that the home works from any folder. NOT_FOUND for none.
Status MakeAbsolute(const char* option, std::vector<std::string>& paths) {
  for (std::string& path : paths) {
    std::error_code error;
    const fs::path absolute = fs::absolute(path, error).lexically_normal();
    if (error || !fs::exists(absolute, error)) {
      return NotFound("{}: {} is not there", option, path);
    }
    path = absolute.string();
  }
  return absl::OkStatus();
}

Status Init(const cli::CommandContext& context, InitOptions& options) {
  const Home home(context.home);
  ConfigChoices& choices = options.choices;
  choices.prune_and_distil = options.recipe == "prune-and-distil";
  choices.automatic_approval = options.approval == "automatic";
  RETURN_IF_ERROR(MakeAbsolute("--train", choices.train));
  RETURN_IF_ERROR(MakeAbsolute("--heldout", choices.heldout));
  if (!choices.contribution.empty()) {
    RETURN_IF_ERROR(manifest::CheckId("--contribution", choices.contribution));
  }
  StatusOr<std::string> text = ReadFile(options.invitation, 1 << 20);
  RETURN_IF_ERROR(Annotate(text.status(), "--invite"));
  StatusOr<manifest::Invitation> invitation =
      manifest::Invitation::FromJson(*text);
  RETURN_IF_ERROR(Annotate(invitation.status(), options.invitation));
  ASSIGN_OR_RETURN(const double retry_for_s, ParseDuration(options.retry_for));

  RETURN_IF_ERROR(MakeDirectories(home.root()));
  RETURN_IF_ERROR(Enrol(
      home, *invitation,
      EnrolOverNetwork(*invitation, {.give_up_after_s = retry_for_s,
                                     .cancellation = &context.cancellation}),
      SystemClock()));
  const bool keep = FileSize(home.Config()).ok();
  if (!keep) {
    RETURN_IF_ERROR(WriteFileAtomic(home.Config(), MakeConfigText(choices)));
  }
  ASSIGN_OR_RETURN(const Identity identity, LoadIdentity(home));
  const auto end = static_cast<double>(identity.certificate.not_after_s());
  context.output.Print(
      fmt::format("Enrolled as {} in federation {} at {}.\n"
                  "Certificate valid until {} (renewed by `run`).\n"
                  "Configuration: {}{}",
                  identity.contributor_id, identity.federation,
                  identity.address, FormatTime(end), home.Config().string(),
                  keep ? " (was there, kept)" : ""),
      {{"federation", identity.federation},
       {"contributor_id", identity.contributor_id},
       {"address", identity.address},
       {"certificate_expire_time_s", identity.certificate.not_after_s()},
       {"config", home.Config().string()},
       {"config_kept", keep}});
  return absl::OkStatus();
}

}  // namespace

void AddInitCommand(cli::CommandLine& line) {
  auto options = std::make_shared<InitOptions>();
  CLI::App* command = line.AddCommand(
      line.app(), "init",
      "Enrol with an invitation and write a configuration; the key is made "
      "here and stays here",
      [options](const cli::CommandContext& context) {
        return Init(context, *options);
      });
  ConfigChoices& choices = options->choices;
  command
      ->add_option("--invite", options->invitation,
                   "Invitation file from the coordinator's operator")
      ->required();
  command->add_option("--train", choices.train,
                      "Private text: file or folder (repeatable)");
  command->add_option("--heldout", choices.heldout,
                      "Private held-out text (repeatable); none: split off");
  command->add_option("--text-field", choices.text_field,
                      "Field of .jsonl lines that holds the text");
  command->add_option("--width", choices.width, "Channels of the expert");
  command->add_option("--contribution", choices.contribution,
                      "Name of the contribution (default: contributor id)");
  command->add_option("--recipe", options->recipe, "How the expert is made")
      ->check(CLI::IsMember({"train", "prune-and-distil"}))
      ->capture_default_str();
  command
      ->add_option("--approval", options->approval,
                   "Who approves what leaves the site")
      ->check(CLI::IsMember({"person", "automatic"}))
      ->capture_default_str();
  command->add_option_function<uint64_t>(
      "--seed", [options](uint64_t seed) { options->choices.seed = seed; },
      "Seed of training");
  command->add_option("--epochs", choices.epochs, "Passes over the text");
  command->add_option("--max-train-windows", choices.max_train_windows,
                      "At most this many windows to train on");
  command->add_option("--max-heldout-windows", choices.max_heldout_windows,
                      "At most this many held-out windows");
  command->add_option("--max-windows-per-document",
                      choices.max_windows_per_document,
                      "At most this many windows of one document");
  command->add_option("--threads", choices.threads,
                      "Compute threads of the worker (default: all cores)");
  command->add_option("--compute-lock", choices.compute_lock_file,
                      "Workers that name the same file run one at a time");
  DeclareRetry(*command, options->retry_for);
}

}  // namespace tributary::contributor

#include <memory>

#include "common/base/files.h"
#include "common/base/text.h"
#include "common/config/commented_text.h"
#include "common/config/defaults.h"
#include "common/manifest/invitation.h"
#include "contributor/client/enrol.h"
#include "contributor/commands/commands.h"
#include "contributor/commands/common.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;

struct InitOptions {
  std::string invitation;
  std::string recipe = "train";
  std::string approval = "person";
  std::string retry_for = kShortRetry;
  std::string compute_lock;
  std::vector<std::string> train;
  std::vector<std::string> heldout;
  // Everything else, straight from the options.
  config::ContributorConfig config;
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

// The options as configuration text. INVALID_ARGUMENT names what is wrong.
StatusOr<std::string> ConfigText(InitOptions& options,
                                 const std::string& contributor_id) {
  RETURN_IF_ERROR(MakeAbsolute("--train", options.train));
  RETURN_IF_ERROR(MakeAbsolute("--heldout", options.heldout));
  config::ContributorConfig& config = options.config;
  for (const std::string& path : options.train) {
    config.mutable_data()->add_train(path);
  }
  for (const std::string& path : options.heldout) {
    config.mutable_data()->add_heldout(path);
  }
  config.mutable_expert()->set_recipe(options.recipe == "prune-and-distil"
                                          ? config::Expert::PRUNE_AND_DISTIL
                                          : config::Expert::TRAIN);
  config.mutable_policy()->set_approval(options.approval == "automatic"
                                            ? config::SitePolicy::AUTOMATIC
                                            : config::SitePolicy::PERSON);
  if (!options.compute_lock.empty()) {
    std::error_code error;
    config.mutable_worker()->set_compute_lock_file(
        fs::absolute(options.compute_lock, error).lexically_normal().string());
  }
  ASSIGN_OR_RETURN(const config::ContributorConfig completed,
                   config::CompleteConfig(config, contributor_id));
  return config::CommentedText(config, completed);
}

// What the pipeline keeps is derived from private text: a folder that is made
// here is its owner's alone.
Status MakePrivateHome(const Home& home) {
  std::error_code error;
  if (fs::exists(home.root(), error)) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(MakeDirectories(home.root()));
  fs::permissions(home.root(), fs::perms::owner_all, error);
  return error ? ErrnoStatus(error.value(), "protect " + home.root().string())
               : absl::OkStatus();
}

Status Init(const cli::CommandContext& context, InitOptions& options) {
  const Home home(context.home);
  StatusOr<std::string> text = ReadFile(options.invitation, 1 << 20);
  RETURN_IF_ERROR(Annotate(text.status(), "--invite"));
  StatusOr<manifest::Invitation> invitation =
      manifest::Invitation::FromJson(*text);
  RETURN_IF_ERROR(Annotate(invitation.status(), options.invitation));
  ASSIGN_OR_RETURN(const std::string config_text,
                   ConfigText(options, invitation->contributor_id));
  ASSIGN_OR_RETURN(const double retry_for_s, ParseRetry(options.retry_for));

  RETURN_IF_ERROR(MakePrivateHome(home));
  // Killed between the identity and the configuration, it writes the latter.
  const bool keep = FileSize(home.Config()).ok();
  if (keep || !FileSize(home.Identity() / kFederationFile).ok()) {
    const RetryOptions retry = {.give_up_after_s = retry_for_s,
                                .cancellation = &context.cancellation};
    RETURN_IF_ERROR(Enrol(home, *invitation,
                          EnrolOverNetwork(*invitation, retry), SystemClock()));
  }
  if (!keep) {
    RETURN_IF_ERROR(WriteFileAtomic(home.Config(), config_text));
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

// Options that stand for one field each.
void DeclareFields(CLI::App& command,
                   const std::shared_ptr<InitOptions>& options) {
  config::ContributorConfig& config = options->config;
  command.add_option_function<std::string>(
      "--contribution",
      [&config](const std::string& id) { config.set_contribution(id); },
      "Name of the contribution (default: contributor id)");
  command.add_option_function<uint64_t>(
      "--seed", [&config](uint64_t seed) { config.set_seed(seed); },
      "Seed of training");
  command.add_option_function<std::string>(
      "--text-field",
      [&config](const std::string& field) {
        config.mutable_data()->set_text_field(field);
      },
      "Field of .jsonl lines that holds the text");
  const auto number = [&](const char* name, auto set, const char* description) {
    command.add_option_function<int32_t>(name, set, description);
  };
  number(
      "--width",
      [&config](int32_t width) { config.mutable_expert()->set_width(width); },
      "Channels of the expert in each layer");
  number(
      "--epochs",
      [&config](int32_t n) { config.mutable_training()->set_epochs(n); },
      "Passes over the text");
  number(
      "--max-train-windows",
      [&config](int32_t n) { config.mutable_data()->set_max_train_windows(n); },
      "At most this many windows to train on");
  number(
      "--max-heldout-windows",
      [&config](int32_t n) {
        config.mutable_data()->set_max_heldout_windows(n);
      },
      "At most this many held-out windows");
  number(
      "--max-windows-per-document",
      [&config](int32_t n) {
        config.mutable_data()->set_max_windows_per_document(n);
      },
      "At most this many windows of one document");
  number(
      "--threads",
      [&config](int32_t n) { config.mutable_worker()->set_threads(n); },
      "Compute threads of the worker (default: all cores)");
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
  command
      ->add_option("--invite", options->invitation,
                   "Invitation file from the coordinator's operator")
      ->required();
  command->add_option("--train", options->train,
                      "Private text: file or folder (repeatable)");
  command->add_option("--heldout", options->heldout,
                      "Private held-out text (repeatable); none: split off");
  command->add_option("--recipe", options->recipe, "How the expert is made")
      ->check(CLI::IsMember({"train", "prune-and-distil"}))
      ->capture_default_str();
  command
      ->add_option("--approval", options->approval,
                   "Who approves what leaves the site")
      ->check(CLI::IsMember({"person", "automatic"}))
      ->capture_default_str();
  command->add_option("--compute-lock", options->compute_lock,
                      "Workers that name the same file run one at a time");
  DeclareFields(*command, options);
  DeclareRetry(*command, options->retry_for);
}

}  // namespace tributary::contributor

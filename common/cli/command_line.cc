#include "common/cli/command_line.h"

#include <cstdlib>
#include <exception>

#include "common/base/exit_code.h"
#include "common/base/log.h"

namespace tributary::cli {
namespace {

std::string DefaultHome(const CommandLine::Options& options) {
  if (const char* home = std::getenv(options.home_variable.c_str());
      home != nullptr && *home != '\0') {
    return home;
  }
  const char* user_home = std::getenv("HOME");
  return (std::filesystem::path(user_home == nullptr ? "." : user_home) /
          options.default_home)
      .string();
}

constexpr const char* kFooter =
    "Exit codes: 0 done, 1 internal error, 2 wrong command line, 3 invalid "
    "input,\n4 not found, 5 refused, 6 wrong state, 7 unavailable (try again), "
    "8 out of\ndisk, quota or memory, 9 rejected, 10 home of a newer version, "
    "130 interrupted.";

}  // namespace

CommandLine::CommandLine(const Options& options)
    : options_(options),
      app_(std::make_unique<CLI::App>(options.description, options.name)),
      home_(DefaultHome(options)) {
  app_->require_subcommand(1);
  app_->fallthrough();
  app_->footer(kFooter);
  app_->set_version_flag("--version", TRIBUTARY_VERSION);
  app_->add_option(
          "--home", home_,
          "Folder with all state (environment: " + options.home_variable + ")")
      ->capture_default_str();
  app_->add_option("--format", format_, "Output for a person or a script")
      ->check(CLI::IsMember({"text", "json"}))
      ->capture_default_str();
}

CLI::App* CommandLine::AddCommand(CLI::App& parent, const std::string& name,
                                  const std::string& description,
                                  CommandFunction function) {
  CLI::App* command = parent.add_subcommand(name, description);
  command->fallthrough();
  command->callback(
      [this, function = std::move(function)] { chosen_ = function; });
  return command;
}

CLI::App* CommandLine::AddGroup(const std::string& name,
                                const std::string& description) {
  CLI::App* group = app_->add_subcommand(name, description);
  group->require_subcommand(1);
  group->fallthrough();
  return group;
}

int CommandLine::Run(int argc, char** argv) {
  log::Configure({.component = options_.name});
  try {
    app_->parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = app_->exit(error);
    return code == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  return RunChosen();
}

int CommandLine::RunChosen() {
  const Output output(format_ == "json" ? OutputFormat::kJson
                                        : OutputFormat::kText);
  std::error_code error;
  const std::filesystem::path home = std::filesystem::absolute(home_, error);
  const CommandContext context = {.home = home.lexically_normal(),
                                  .output = output,
                                  .cancellation = InstallSignalCancellation()};
  Status status;
  try {
    status = chosen_(context);
  } catch (const std::exception& exception) {
    status = Internal("{}", exception.what());
  }
  if (!status.ok()) {
    output.Error(status);
  }
  return static_cast<int>(ExitCodeFor(status));
}

}  // namespace tributary::cli

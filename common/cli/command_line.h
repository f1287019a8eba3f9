#pragma once

// The frame of both command-line programs: global options, subcommands that
// return a Status, exit codes.

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/cli/output.h"

namespace tributary::cli {

// What a command may use while it runs.
struct CommandContext {
  std::filesystem::path home;
  const Output& output;
  const CancellationToken& cancellation;
};

using CommandFunction = std::function<Status(const CommandContext&)>;

// A program with subcommands.
class CommandLine {
 public:
  struct Options {
    std::string name;         // "tributary-coordinator"
    std::string description;  // for --help
    std::string home_variable;
    std::string default_home;  // below the user's home, ".tributary/..."
  };

  explicit CommandLine(const Options& options);

  // Where subcommands are added; CLI11's own interface declares their options.
  CLI::App& app() { return *app_; }

  // Adds `name` below `parent` and runs `function` when it is chosen. Options
  // of the command are declared on the result.
  CLI::App* AddCommand(CLI::App& parent, const std::string& name,
                       const std::string& description,
                       CommandFunction function);

  // Adds a group: a command that needs a subcommand.
  CLI::App* AddGroup(const std::string& name, const std::string& description);

  // Parses and runs. Every third-party exception ends here. Returns the exit
  // code (common/base/exit_code.h).
  int Run(int argc, char** argv);

 private:
  int RunChosen();

  const Options options_;
  std::unique_ptr<CLI::App> app_;
  std::string home_;
  std::string format_ = "text";
  CommandFunction chosen_;
};

}  // namespace tributary::cli

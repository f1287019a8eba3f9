#include "coordinator/commands/sign_command.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "common/base/files.h"
#include "common/cli/worker_call.h"
#include "common/crypto/certificate.h"
#include "common/crypto/key.h"
#include "common/manifest/model_signature.h"
#include "coordinator/storage/home.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;

struct SignOptions {
  std::string folder;
  std::string output;
};

// A path relative to the folder, when it lies in it.
std::vector<std::string> IgnoredIn(const fs::path& folder,
                                   const fs::path& signature) {
  const fs::path relative = signature.lexically_relative(folder);
  return relative.empty() || *relative.begin() == ".."
             ? std::vector<std::string>()
             : std::vector<std::string>{relative.generic_string()};
}

Status Sign(const SignOptions& options, const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const fs::path folder,
                   cli::ExistingPath(options.folder, "release sign"));
  const fs::path output = options.output.empty()
                              ? folder / manifest::kModelSignatureFile
                              : fs::absolute(options.output).lexically_normal();
  const Home home(context.home);
  ASSIGN_OR_RETURN(const crypto::PrivateKey key,
                   crypto::PrivateKey::Load(home.key("signer")));
  ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                   crypto::Certificate::Load(home.certificate("signer")));
  ASSIGN_OR_RETURN(const crypto::Certificate ca,
                   crypto::Certificate::Load(home.certificate("ca")));
  manifest::ModelStatement statement = {.name = folder.filename().string(),
                                        .files = {},
                                        .ignored = IgnoredIn(folder, output)};
  ASSIGN_OR_RETURN(statement.files,
                   manifest::HashModelFiles(folder, statement.ignored,
                                            &context.cancellation));
  const size_t files = statement.files.size();
  ASSIGN_OR_RETURN(
      const std::string bundle,
      manifest::SignModel(std::move(statement),
                          {.key = key, .certificate = certificate, .ca = ca}));
  RETURN_IF_ERROR(WriteFileAtomic(output, bundle));
  context.output.Print(
      fmt::format("signed {} files: {}\nOthers check it with `model_signing "
                  "verify certificate {} --signature {} --certificate_chain "
                  "{}`",
                  files, output.string(), folder.string(), output.string(),
                  home.certificate("ca").string()),
      {{"files", files}, {"signature", output.string()}});
  return absl::OkStatus();
}

}  // namespace

void AddSignCommand(cli::CommandLine& command_line, CLI::App& group) {
  auto options = std::make_shared<SignOptions>();
  CLI::App* sign = command_line.AddCommand(
      group, "sign",
      "Sign every file of a model folder in the OpenSSF Model Signing format",
      [options](const cli::CommandContext& context) {
        return Sign(*options, context);
      });
  sign->add_option("directory", options->folder,
                   "A release, an export, or one file")
      ->required();
  sign->add_option("--output", options->output,
                   "Signature to write (default: model.sig in the folder)");
}

}  // namespace tributary::coordinator

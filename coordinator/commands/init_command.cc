#include "coordinator/commands/init_command.h"

#include <memory>
#include <utility>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/crypto/certificate_authority.h"
#include "common/manifest/resource_name.h"
#include "common/manifest/spiffe.h"
#include "coordinator/commands/config_file.h"
#include "coordinator/service/server_keys.h"
#include "coordinator/storage/database.h"
#include "coordinator/storage/home.h"

namespace tributary::coordinator {
namespace {

constexpr int64_t kLeafLifetimeS = 365 * crypto::kDaySeconds;

// A key and its certificate below keys/.
Status SavePair(const Home& home, const std::string& name,
                const crypto::PrivateKey& key,
                const crypto::Certificate& certificate) {
  RETURN_IF_ERROR(key.Save(home.key(name)));
  return WriteFileAtomic(home.certificate(name), certificate.ToPem());
}

Status IssuePair(const Home& home, const crypto::CertificateAuthority& ca,
                 const std::string& name, crypto::LeafOptions options) {
  ASSIGN_OR_RETURN(const crypto::PrivateKey key,
                   crypto::PrivateKey::Generate());
  options.common_name = name;
  options.lifetime_s = kLeafLifetimeS;
  ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                   ca.Issue(key.public_key(), options));
  return SavePair(home, name, key, certificate);
}

// The federation's CA and the certificates of this coordinator.
Status MakeKeys(const Home& home, const ConfigChoices& choices) {
  ASSIGN_OR_RETURN(const auto ca,
                   crypto::CertificateAuthority::CreateSelfSigned(
                       choices.federation, kCaLifetimeS, SystemClock()));
  const auto uri = [&](manifest::Role role, const std::string& id) {
    return manifest::Identity{choices.federation, role, id}.ToUri();
  };
  std::vector<std::string> hosts = {"localhost", "127.0.0.1", "::1"};
  hosts.insert(hosts.end(), choices.public_hosts.begin(),
               choices.public_hosts.end());
  RETURN_IF_ERROR(IssuePair(home, ca, "server",
                            {.uris = {uri(manifest::Role::kCoordinator, "")},
                             .hosts = hosts,
                             .usages = {crypto::KeyUsage::kServer}}));
  RETURN_IF_ERROR(IssuePair(home, ca, "signer",
                            {.uris = {uri(manifest::Role::kSigner, "")}}));
  RETURN_IF_ERROR(
      IssuePair(home, ca, "operator",
                {.uris = {uri(manifest::Role::kOperator, "operator")},
                 .usages = {crypto::KeyUsage::kClient}}));
  return SavePair(home, "ca", ca.key(), ca.certificate());
}

Status Init(const ConfigChoices& choices, const cli::CommandContext& context) {
  const Home home(context.home);
  RETURN_IF_ERROR(manifest::CheckId("--federation", choices.federation));
  if (FileSize(home.config()).ok()) {
    return absl::AlreadyExistsError(
        home.root().string() +
        ": is a coordinator home already; choose another --home, or remove it "
        "to start afresh");
  }
  ASSIGN_OR_RETURN(const std::string config_text, MakeConfigText(choices));
  RETURN_IF_ERROR(MakeDirectories(home.keys()));
  std::error_code error;
  std::filesystem::permissions(home.keys(), std::filesystem::perms::owner_all,
                               error);
  // Everything again when an earlier init did not reach its last step, the
  // configuration file.
  RETURN_IF_ERROR(MakeKeys(home, choices));
  RETURN_IF_ERROR(
      Database::Open(home.database(), Database::Mode::kCreate).status());
  RETURN_IF_ERROR(WriteFileAtomic(home.config(), config_text));
  ASSIGN_OR_RETURN(const crypto::Certificate ca,
                   crypto::Certificate::Load(home.certificate("ca")));
  context.output.Print(
      fmt::format("Coordinator of federation '{}' in {}\n"
                  "CA fingerprint {}\n"
                  "Next: look through {}, then `tributary-coordinator serve`.",
                  choices.federation, home.root().string(), ca.fingerprint(),
                  home.config().string()),
      {{"home", home.root().string()},
       {"federation", choices.federation},
       {"ca_fingerprint", ca.fingerprint()},
       {"config", home.config().string()}});
  return absl::OkStatus();
}

}  // namespace

void AddInitCommand(cli::CommandLine& command_line) {
  auto choices = std::make_shared<ConfigChoices>();
  choices->listen_address = "127.0.0.1:8443";
  CLI::App* command = command_line.AddCommand(
      command_line.app(), "init",
      "Make a home: the federation's CA, keys, database, configuration",
      [choices](const cli::CommandContext& context) {
        return Init(*choices, context);
      });
  command
      ->add_option("--federation", choices->federation,
                   "Name of the federation: a-z, 0-9 and hyphens")
      ->required();
  command
      ->add_option("--listen", choices->listen_address,
                   "host:port to listen on; port 0 lets the system choose")
      ->capture_default_str();
  command->add_option("--public-host", choices->public_hosts,
                      "Name or address that contributors use (repeatable)");
  command
      ->add_option("--first-layer", choices->first_layer,
                   "First layer of the anchor that carries experts")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--compute-lock", choices->compute_lock_file,
                      "File that keeps workers from running at the same time");
}

}  // namespace tributary::coordinator

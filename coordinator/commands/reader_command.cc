#include "coordinator/commands/reader_command.h"

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/base/json.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/crypto/certificate_authority.h"
#include "common/manifest/resource_name.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/config_file.h"
#include "coordinator/commands/message_json.h"
#include "coordinator/commands/paged_list.h"
#include "coordinator/service/server_keys.h"
#include "coordinator/storage/home.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

struct ReaderOptions {
  std::string id;
  std::string output;
  int days = 90;
};

// Where a reader dials: what the configuration says, or where the server
// listens now.
StatusOr<std::string> DialAddress(const Home& home, const Settings& settings) {
  if (!settings.public_address.empty()) {
    return settings.public_address;
  }
  StatusOr<std::string> text = ReadFile(home.address(), Home::kMaxAddressBytes);
  if (!text.ok()) {
    return FailedPrecondition(
        "the server does not run and {} has no public_address; start it or set "
        "the address",
        home.config().string());
  }
  text->erase(text->find_last_not_of(" \r\n") + 1);
  if (settings.public_hosts.empty()) {
    return text;
  }
  return settings.public_hosts[0] + text->substr(text->rfind(':'));
}

// The CAs to trust, the one that issues first.
struct Cas {
  crypto::CertificateAuthority issuing;
  std::string trusted_pem;
};

StatusOr<Cas> LoadCas(const Home& home) {
  ASSIGN_OR_RETURN(crypto::CertificateAuthority ca,
                   LoadCa(home, kCaName, SystemClock()));
  if (!HasNextCa(home)) {
    const std::string pem = ca.certificate().ToPem();
    return Cas{.issuing = std::move(ca), .trusted_pem = pem};
  }
  ASSIGN_OR_RETURN(crypto::CertificateAuthority next,
                   LoadCa(home, kNextCaName, SystemClock()));
  const std::string pem = JoinPem({next.certificate(), ca.certificate()});
  return Cas{.issuing = std::move(next), .trusted_pem = pem};
}

Status WriteIdentity(const fs::path& folder, const crypto::PrivateKey& key,
                     const crypto::Certificate& certificate, const Home& home,
                     const std::string& trusted_pem) {
  RETURN_IF_ERROR(MakeDirectories(folder));
  RETURN_IF_ERROR(key.Save(folder / "contributor.key.pem"));
  RETURN_IF_ERROR(
      WriteFileAtomic(folder / "contributor.crt.pem", certificate.ToPem()));
  RETURN_IF_ERROR(WriteFileAtomic(folder / "ca.crt.pem", trusted_pem));
  ASSIGN_OR_RETURN(const std::string signer,
                   ReadFile(home.certificate("signer"), 1 << 20));
  return WriteFileAtomic(folder / "signer.crt.pem", signer);
}

Status Issue(const ReaderOptions& options, const cli::CommandContext& context) {
  const Home home(context.home);
  RETURN_IF_ERROR(manifest::CheckId("--id", options.id));
  ASSIGN_OR_RETURN(const Settings settings, LoadSettings(home));
  ASSIGN_OR_RETURN(const std::string address, DialAddress(home, settings));
  const fs::path output = fs::absolute(options.output).lexically_normal();
  std::error_code error;
  if (fs::exists(output, error)) {
    return absl::AlreadyExistsError(output.string() +
                                    ": is there already; choose another");
  }
  ASSIGN_OR_RETURN(const Cas cas, LoadCas(home));
  ASSIGN_OR_RETURN(const crypto::PrivateKey key,
                   crypto::PrivateKey::Generate());
  ASSIGN_OR_RETURN(
      const crypto::Certificate certificate,
      cas.issuing.Issue(key.public_key(),
                        {.common_name = options.id,
                         .uris = {fmt::format("spiffe://{}/reader/{}",
                                              settings.federation, options.id)},
                         .usages = {crypto::KeyUsage::kClient},
                         .lifetime_s = options.days * crypto::kDaySeconds}));
  RETURN_IF_ERROR(WriteIdentity(output / "identity", key, certificate, home,
                                cas.trusted_pem));
  ASSIGN_OR_RETURN(const std::string federation,
                   DumpJson({{"federation", settings.federation},
                             {"contributor_id", options.id},
                             {"address", address}},
                            2));
  RETURN_IF_ERROR(
      WriteFileAtomic(output / "identity" / "federation.json", federation));
  RETURN_IF_ERROR(WriteFileAtomic(
      output / "contributor.textproto",
      "# The home of a reader: it fetches releases and offers nothing.\n"));
  context.output.Print(
      fmt::format("wrote {}, valid until {}\nHand it over like a password. Its "
                  "owner runs `tributary-contributor --home {} release fetch "
                  "latest --output R`.",
                  output.string(),
                  FormatTime(static_cast<double>(certificate.not_after_s())),
                  output.filename().string()),
      {{"home", output.string()},
       {"id", options.id},
       {"expire_time_s", certificate.not_after_s()}});
  return absl::OkStatus();
}

Status RevokeReader(const std::string& id, const cli::CommandContext& context) {
  v1::RevokeReaderRequest request;
  request.set_request_id(RandomUuid());
  request.set_name(
      manifest::FullResourceName(manifest::Collection::kReaders, id));
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const v1::RevokedReader reader,
      client->Call(client->admin(), &v1::AdminService::Stub::RevokeReader,
                   request));
  context.output.Print(reader.name() + " is refused from its next call on",
                       MessageJson(reader));
  return absl::OkStatus();
}

Status ListRevoked(const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const auto readers,
      ListAll<v1::RevokedReader>(
          *client, client->admin(), &v1::AdminService::Stub::ListRevokedReaders,
          [](const v1::ListRevokedReadersResponse& page) -> const auto& {
            return page.readers();
          }));
  std::vector<std::vector<std::string>> rows = {{"NAME", "REVOKED"}};
  Json values = Json::array();
  for (const v1::RevokedReader& reader : readers) {
    rows.push_back({reader.name(),
                    FormatTime(static_cast<double>(reader.revoke_time_s()))});
    values.push_back(MessageJson(reader));
  }
  context.output.Print(cli::FormatTable(rows), {{"readers", values}});
  return absl::OkStatus();
}

}  // namespace

void AddReaderCommand(cli::CommandLine& command_line) {
  auto options = std::make_shared<ReaderOptions>();
  CLI::App* group = command_line.AddGroup(
      "reader", "Those who read anchors and releases only");
  CLI::App* issue = command_line.AddCommand(
      *group, "issue", "Make a reader's home with key and certificate",
      [options](const cli::CommandContext& context) {
        return Issue(*options, context);
      });
  issue->add_option("--id", options->id, "a-z, 0-9 and hyphens")->required();
  issue->add_option("--output", options->output, "Folder to make")->required();
  issue->add_option("--days", options->days, "Lifetime of the certificate")
      ->check(CLI::Range(1, 365))
      ->capture_default_str();
  auto revoked = std::make_shared<std::string>();
  CLI::App* revoke = command_line.AddCommand(
      *group, "revoke", "Refuse a reader from its next call on",
      [revoked](const cli::CommandContext& context) {
        return RevokeReader(*revoked, context);
      });
  revoke->add_option("id", *revoked, "Id of the reader")->required();
  command_line.AddCommand(*group, "revoked", "Readers that are refused",
                          ListRevoked);
}

}  // namespace tributary::coordinator

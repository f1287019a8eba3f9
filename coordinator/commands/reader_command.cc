#include "coordinator/commands/reader_command.h"

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/crypto/certificate.h"
#include "common/crypto/certificate_authority.h"
#include "common/manifest/resource_name.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/message_json.h"
#include "coordinator/commands/paged_list.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

struct ReaderOptions {
  std::string id;
  std::string output;
  int days = 90;
};

// The files of `identity/` in a reader's home.
Status WriteIdentity(const fs::path& folder, const std::string& id,
                     const crypto::PrivateKey& key,
                     const v1::ReaderCertificate& issued) {
  std::string trusted;
  for (const std::string& pem : issued.trust().ca_certificates_pem()) {
    trusted += pem;
  }
  ASSIGN_OR_RETURN(const std::string federation,
                   DumpJson({{"federation", issued.federation()},
                             {"contributor_id", id},
                             {"address", issued.address()}},
                            2));
  RETURN_IF_ERROR(MakeDirectories(folder));
  RETURN_IF_ERROR(key.Save(folder / "contributor.key.pem"));
  RETURN_IF_ERROR(WriteFileAtomic(folder / "contributor.crt.pem",
                                  issued.certificate_pem()));
  RETURN_IF_ERROR(WriteFileAtomic(folder / "ca.crt.pem", trusted));
  RETURN_IF_ERROR(WriteFileAtomic(folder / "signer.crt.pem",
                                  issued.trust().signing_certificate_pem()));
  return WriteFileAtomic(folder / "federation.json", federation);
}

Status Issue(const ReaderOptions& options, const cli::CommandContext& context) {
  RETURN_IF_ERROR(manifest::CheckId("--id", options.id));
  const fs::path output = fs::absolute(options.output).lexically_normal();
  std::error_code error;
  if (fs::exists(output, error)) {
    return absl::AlreadyExistsError(output.string() +
                                    ": is there already; choose another");
  }
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(const crypto::PrivateKey key,
                   crypto::PrivateKey::Generate());
  ASSIGN_OR_RETURN(const crypto::SigningRequest signing_request,
                   crypto::SigningRequest::Create(key, options.id));
  v1::IssueReaderCertificateRequest request;
  request.set_request_id(RandomUuid());
  request.set_name(
      manifest::FullResourceName(manifest::Collection::kReaders, options.id));
  request.set_certificate_signing_request_pem(signing_request.ToPem());
  request.set_lifetime_s(options.days * crypto::kDaySeconds);
  ASSIGN_OR_RETURN(
      const v1::ReaderCertificate issued,
      client->Call(client->admin(),
                   &v1::AdminService::Stub::IssueReaderCertificate, request));
  RETURN_IF_ERROR(WriteIdentity(output / "identity", options.id, key, issued));
  RETURN_IF_ERROR(WriteFileAtomic(
      output / "contributor.textproto",
      "# The home of a reader: it fetches releases and offers nothing.\n"));
  context.output.Print(
      fmt::format("wrote {}, valid until {}\nHand it over like a password. Its "
                  "owner runs `tributary-contributor --home {} release fetch "
                  "latest --output R`.",
                  output.string(),
                  FormatTime(static_cast<double>(issued.expire_time_s())),
                  output.filename().string()),
      {{"home", output.string()},
       {"id", options.id},
       {"expire_time_s", issued.expire_time_s()}});
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

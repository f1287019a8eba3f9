#include "coordinator/commands/admin_client.h"

#include <chrono>

#include "common/base/files.h"
#include "common/rpc/channel.h"
#include "common/rpc/credentials.h"
#include "common/rpc/status_conversion.h"
#include "coordinator/storage/home.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

constexpr auto kCallTimeout = std::chrono::seconds(30);
StatusOr<std::string> ReadAddress(const fs::path& home) {
  std::error_code error;
  if (!fs::exists(home / "coordinator.textproto", error)) {
    return NotFound(
        "{}: no coordinator home; make one with `tributary-coordinator init`",
        home.string());
  }
  StatusOr<std::string> text =
      ReadFile(home / "address", Home::kMaxAddressBytes);
  if (!text.ok()) {
    return Unavailable(
        "no server runs on {} (it has no address file); start it with "
        "`tributary-coordinator serve`",
        home.string());
  }
  text->erase(text->find_last_not_of(" \r\n") + 1);
  return text;
}

}  // namespace

StatusOr<std::unique_ptr<AdminClient>> AdminClient::Connect(
    const fs::path& home) {
  ASSIGN_OR_RETURN(const std::string address, ReadAddress(home));
  const fs::path keys = home / "keys";
  ASSIGN_OR_RETURN(
      const rpc::TlsIdentity identity,
      rpc::LoadTlsIdentity(keys / "ca.crt.pem", keys / "operator.crt.pem",
                           keys / "operator.key.pem"));
  const auto channel = rpc::CreateChannel(address, identity);
  std::unique_ptr<AdminClient> client(new AdminClient(address));
  client->admin_ = v1::AdminService::NewStub(channel);
  client->anchors_ = v1::AnchorService::NewStub(channel);
  client->releases_ = v1::ReleaseService::NewStub(channel);
  client->audit_ = v1::AuditService::NewStub(channel);
  client->trust_ = v1::TrustService::NewStub(channel);
  return client;
}

void AdminClient::SetDeadline(grpc::ClientContext& context) {
  context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
}

Status AdminClient::Convert(const grpc::Status& status) const {
  const Status converted = rpc::FromGrpcStatus(status);
  if (absl::IsUnavailable(converted)) {
    return Unavailable(
        "the coordinator at {} does not answer: {}; is `tributary-coordinator "
        "serve` running?",
        address_, std::string(converted.message()));
  }
  return converted;
}

}  // namespace tributary::coordinator

#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "common/base/status.h"
#include "grpcpp/client_context.h"
#include "tributary/v1/admin.grpc.pb.h"
#include "tributary/v1/anchor.grpc.pb.h"
#include "tributary/v1/audit.grpc.pb.h"
#include "tributary/v1/release.grpc.pb.h"
#include "tributary/v1/trust.grpc.pb.h"

namespace tributary::coordinator {

// The operator's connection to the server that runs on a home: its address
// file says where, keys/operator.* says who.
class AdminClient {
 public:
  // UNAVAILABLE when no server runs on this home; NOT_FOUND when the home has
  // not been made yet.
  static StatusOr<std::unique_ptr<AdminClient>> Connect(
      const std::filesystem::path& home);

  v1::AdminService::Stub& admin() { return *admin_; }
  v1::AnchorService::Stub& anchors() { return *anchors_; }
  v1::ReleaseService::Stub& releases() { return *releases_; }
  v1::AuditService::Stub& audit() { return *audit_; }
  v1::TrustService::Stub& trust() { return *trust_; }

  // Makes one unary call with a deadline and returns its answer or error.
  template <typename Stub, typename Request, typename Response>
  StatusOr<Response> Call(Stub& stub,
                          grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                       const Request&,
                                                       Response*),
                          const Request& request) {
    grpc::ClientContext context;
    SetDeadline(context);
    Response response;
    RETURN_IF_ERROR(Convert((stub.*method)(&context, request, &response)));
    return response;
  }

  // The status of a finished call, naming the address when it was not reached.
  Status Convert(const grpc::Status& status) const;

 private:
  explicit AdminClient(std::string address) : address_(std::move(address)) {}
  static void SetDeadline(grpc::ClientContext& context);

  const std::string address_;
  std::unique_ptr<v1::AdminService::Stub> admin_;
  std::unique_ptr<v1::AnchorService::Stub> anchors_;
  std::unique_ptr<v1::ReleaseService::Stub> releases_;
  std::unique_ptr<v1::AuditService::Stub> audit_;
  std::unique_ptr<v1::TrustService::Stub> trust_;
};

}  // namespace tributary::coordinator

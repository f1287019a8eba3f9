// Who may call what: every method of the API with every kind of peer. The
// requests are empty, so that whoever is let in learns that instead.

#include <google/protobuf/descriptor.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>

#include "common/base/random.h"
#include "common/rpc/channel.h"
#include "tests/coordinator/service/test_federation.h"

namespace tributary::coordinator {
namespace {

using google::protobuf::MethodDescriptor;

constexpr char kNobody[] = "nobody";  // without a certificate
constexpr char kContributor[] = "contributor";
constexpr char kRevokedContributor[] = "revoked contributor";
constexpr char kReader[] = "reader";
constexpr char kRevokedReader[] = "revoked reader";
constexpr char kOperator[] = "operator";
constexpr char kReplacedOperator[] = "operator of before";

const std::set<std::string> kEverybody = {
    kNobody,        kContributor, kRevokedContributor, kReader,
    kRevokedReader, kOperator,    kReplacedOperator};
const std::set<std::string> kReaders = {kContributor, kReader, kOperator};
const std::set<std::string> kContributors = {kContributor};
// What is theirs stays theirs.
const std::set<std::string> kOwners = {kContributor, kRevokedContributor};
const std::set<std::string> kOperators = {kOperator};

// Whom a method lets in; the table of docs/protocol.md.
std::set<std::string> Allowed(const MethodDescriptor& method) {
  const std::string& service = method.service()->name();
  const std::string& name = method.name();
  if (service == "AdminService") {
    return kOperators;
  }
  if (name == "Enrol") {
    return kEverybody;
  }
  if (name == "GetTrustBundle") {
    return {kContributor, kRevokedContributor, kReader, kOperator};
  }
  if (name == "WithdrawContribution" || name == "GetWithdrawal") {
    return kOwners;
  }
  if (service == "TrustService" || name == "ListAuditRecords") {
    return kOperators;
  }
  if (service == "AnchorService" || service == "AuditService" ||
      service == "PreflightService" || name == "Read" ||
      (service == "ReleaseService" && name != "ReportEvaluation")) {
    return kReaders;
  }
  return kContributors;
}

class RolesTest : public testing::Test {
 protected:
  void SetUp() override {
    auto federation = TestFederation::Create();
    ASSERT_TRUE(federation.ok()) << federation.status();
    federation_ = *std::move(federation);
    Add(kNobody, federation_->anonymous());
    for (const char* name : {"stays", "goes"}) {
      auto owner = federation_->Enrol(name);
      ASSERT_TRUE(owner.ok()) << owner.status();
      Add(owner->id == "goes" ? kRevokedContributor : kContributor,
          owner->identity);
    }
    AddOperator(kReplacedOperator);
    v1::RotateOperatorKeyRequest rotate;
    rotate.set_request_id(RandomUuid());
    ASSERT_TRUE(Call<v1::TrustState>(*federation_->operator_stubs().trust,
                                     &v1::TrustService::Stub::RotateOperatorKey,
                                     rotate)
                    .ok());
    ASSERT_TRUE(federation_->ConnectOperator().ok());
    AddOperator(kOperator);
    Add(kReader, *federation_->MakeReader("stays"));
    Add(kRevokedReader, *federation_->MakeReader("goes"));
    v1::AdminService::Stub& admin = *federation_->operator_stubs().admin;
    v1::RevokeContributorRequest contributor;
    contributor.set_request_id(RandomUuid());
    contributor.set_name("contributors/goes");
    ASSERT_TRUE(
        Call<v1::Contributor>(admin, &v1::AdminService::Stub::RevokeContributor,
                              contributor)
            .ok());
    v1::RevokeReaderRequest reader;
    reader.set_request_id(RandomUuid());
    reader.set_name("readers/goes");
    ASSERT_TRUE(Call<v1::RevokedReader>(
                    admin, &v1::AdminService::Stub::RevokeReader, reader)
                    .ok());
  }

  // As the home has it now.
  void AddOperator(const char* peer) {
    const Home& home = federation_->home();
    const auto identity = rpc::LoadTlsIdentity(home.certificate("ca"),
                                               home.certificate("operator"),
                                               home.key("operator"));
    ASSERT_TRUE(identity.ok()) << identity.status();
    Add(peer, *identity);
  }
  void Add(const char* peer, const rpc::TlsIdentity& identity) {
    peers_.emplace(peer, std::make_unique<grpc::GenericStub>(rpc::CreateChannel(
                             federation_->address(), identity)));
  }

  // One empty request, whatever the kind of the method.
  grpc::Status Send(const std::string& peer, const MethodDescriptor& method) {
    grpc::ClientContext context;
    SetStreamDeadline(context);
    grpc::CompletionQueue queue;
    const auto wait = [&queue] {
      void* tag = nullptr;
      bool ok = false;
      return queue.Next(&tag, &ok) && ok;
    };
    const auto call = peers_.at(peer)->PrepareCall(
        &context, "/" + method.service()->full_name() + "/" + method.name(),
        &queue);
    call->StartCall(nullptr);
    wait();
    grpc::Slice empty;
    if (call->WriteLast(grpc::ByteBuffer(&empty, 1), grpc::WriteOptions(),
                        nullptr);
        wait()) {
      grpc::ByteBuffer answer;
      do {
        call->Read(&answer, nullptr);
      } while (wait());
    }
    grpc::Status status;
    call->Finish(&status, nullptr);
    wait();
    return status;
  }

  std::unique_ptr<TestFederation> federation_;
  std::map<std::string, std::unique_ptr<grpc::GenericStub>> peers_;
};

std::vector<const MethodDescriptor*> AllMethods() {
  const google::protobuf::Descriptor* some[] = {
      v1::GetStatusRequest::descriptor(),
      v1::GetAnchorRequest::descriptor(),
      v1::GetCheckpointRequest::descriptor(),
      v1::ReadRequest::descriptor(),
      v1::GetContributionRequest::descriptor(),
      v1::EnrolRequest::descriptor(),
      v1::ProbeRequest::descriptor(),
      v1::GetReleaseRequest::descriptor(),
      v1::GetTrustBundleRequest::descriptor()};
  std::vector<const MethodDescriptor*> methods;
  for (const auto* message : some) {
    const google::protobuf::FileDescriptor* file = message->file();
    for (int i = 0; i < file->service_count(); ++i) {
      for (int j = 0; j < file->service(i)->method_count(); ++j) {
        methods.push_back(file->service(i)->method(j));
      }
    }
  }
  return methods;
}

template <typename Detail>
bool Has(const grpc::Status& status) {
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) {
    return false;
  }
  for (const auto& detail : rich.details()) {
    if (detail.Is<Detail>()) {
      return true;
    }
  }
  return false;
}

TEST_F(RolesTest, EveryMethodLetsInWhomItIsFor) {
  const auto methods = AllMethods();
  EXPECT_GE(methods.size(), 45u);
  for (const MethodDescriptor* method : methods) {
    const std::set<std::string> allowed = Allowed(*method);
    for (const auto& [peer, stub] : peers_) {
      const grpc::Status status = Send(peer, *method);
      const std::string what = method->full_name() + " by " + peer + ": " +
                               std::to_string(status.error_code()) + " " +
                               status.error_message();
      if (!status.ok()) {
        EXPECT_TRUE(Has<google::rpc::ErrorInfo>(status)) << what;
      }
      const auto code = status.error_code();
      if (code == grpc::StatusCode::INVALID_ARGUMENT) {
        EXPECT_TRUE(Has<google::rpc::BadRequest>(status)) << what;
      }
      if (peer == kNobody && !allowed.contains(peer)) {
        EXPECT_EQ(code, grpc::StatusCode::UNAUTHENTICATED) << what;
      } else if (!allowed.contains(peer)) {
        EXPECT_EQ(code, grpc::StatusCode::PERMISSION_DENIED) << what;
      } else {
        // What an empty request gets, and never a decision about the caller.
        EXPECT_TRUE(code == grpc::StatusCode::OK ||
                    code == grpc::StatusCode::INVALID_ARGUMENT)
            << what;
      }
    }
  }
}

}  // namespace
}  // namespace tributary::coordinator

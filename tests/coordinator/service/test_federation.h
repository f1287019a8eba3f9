#pragma once

// A coordinator in this process: a real home, real mutual TLS on a loopback
// port, real storage; only the worker is replaced.

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "common/crypto/certificate_authority.h"
#include "common/manifest/expert_manifest.h"
#include "common/rpc/credentials.h"
#include "common/rpc/status_conversion.h"
#include "coordinator/admission/task_runner.h"
#include "coordinator/service/server.h"
#include "tributary/v1/admin.grpc.pb.h"
#include "tributary/v1/anchor.grpc.pb.h"
#include "tributary/v1/audit.grpc.pb.h"
#include "tributary/v1/blob.grpc.pb.h"
#include "tributary/v1/contribution.grpc.pb.h"
#include "tributary/v1/enrolment.grpc.pb.h"
#include "tributary/v1/preflight.grpc.pb.h"
#include "tributary/v1/release.grpc.pb.h"
#include "tributary/v1/trust.grpc.pb.h"

namespace tributary::coordinator {

// A clock that tests move.
class TestClock final : public Clock {
 public:
  double NowSeconds() const override {
    return Clock::NowSeconds() + offset_s_.load();
  }
  double MonotonicSeconds() const override {
    return Clock::MonotonicSeconds() + offset_s_.load();
  }
  void Advance(double seconds) { offset_s_.store(offset_s_.load() + seconds); }

 private:
  std::atomic<double> offset_s_{0};
};

// What the fake worker answers; outlives servers.
struct WorkerScript {
  // Instead of a passing gate; called on the job's thread.
  std::function<StatusOr<job::ValidateExpertResult>(const job::ValidateExpert&,
                                                    const CancellationToken&)>
      validate;
  // Public log-loss of every release; the anchor's is 3.
  double release_loss = 3.0;
  // Called before a release is evaluated.
  std::function<Status(const CancellationToken&)> before_evaluation;
  std::atomic<int> validations{0};
  std::atomic<int> evaluations{0};
};

class FakeTaskRunner final : public TaskRunner {
 public:
  explicit FakeTaskRunner(WorkerScript& script) : script_(script) {}
  StatusOr<job::Result> Run(job::Job job, const ProgressFunction& progress,
                            const CancellationToken& cancellation) override;

 private:
  WorkerScript& script_;
};

// Calls of one identity.
struct Stubs {
  explicit Stubs(const std::shared_ptr<grpc::Channel>& channel);
  std::unique_ptr<v1::EnrolmentService::Stub> enrolment;
  std::unique_ptr<v1::AnchorService::Stub> anchors;
  std::unique_ptr<v1::BlobService::Stub> blobs;
  std::unique_ptr<v1::ContributionService::Stub> contributions;
  std::unique_ptr<v1::ReleaseService::Stub> releases;
  std::unique_ptr<v1::AdminService::Stub> admin;
  std::unique_ptr<v1::AuditService::Stub> audit;
  std::unique_ptr<v1::PreflightService::Stub> preflight;
  std::unique_ptr<v1::TrustService::Stub> trust;
};

// A stream that hangs fails.
void SetStreamDeadline(grpc::ClientContext& context);

// A unary call.
template <typename Response, typename Stub, typename Request>
StatusOr<Response> Call(Stub& stub,
                        grpc::Status (Stub::*method)(grpc::ClientContext*,
                                                     const Request&, Response*),
                        const Request& request) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() +
                       std::chrono::seconds(60));
  Response response;
  RETURN_IF_ERROR(
      rpc::FromGrpcStatus((stub.*method)(&context, request, &response)));
  return response;
}

// A data owner with a key of its own.
struct Owner {
  std::string id;
  crypto::PrivateKey key;
  rpc::TlsIdentity identity;
  std::unique_ptr<Stubs> stubs;
};

// An expert file and what its owner signs about it.
struct TestExpert {
  std::string bytes;
  manifest::ExpertManifest manifest;
  std::string envelope_json;
};

class TestFederation {
 public:
  // A home of federation "test" with keys and a running server, whose jobs run
  // when RunJobs is called, or on their own thread.
  static StatusOr<std::unique_ptr<TestFederation>> Create(
      const Settings& settings = {},
      Server::Options::Jobs jobs = Server::Options::Jobs::kManual);

  // Ends the server and starts another one on the same home.
  Status Restart();
  void Stop() { server_.reset(); }
  Status RunJobs() { return server_->RunJobs(); }

  const std::string& address() const { return server_->address(); }
  Server& server() { return *server_; }
  const Home& home() const { return home_; }
  const std::filesystem::path& path() const { return directory_.path(); }
  TestClock& clock() { return clock_; }
  WorkerScript& script() { return script_; }
  Settings& settings() { return settings_; }
  const crypto::CertificateAuthority& ca() const { return *ca_; }
  crypto::PublicKey signer() const;

  // The operator's certificate as it is now.
  Status ConnectOperator();
  // Stubs for an identity; an empty one for a peer without certificate.
  std::unique_ptr<Stubs> Connect(const rpc::TlsIdentity& identity) const;
  Stubs& operator_stubs() { return *operator_; }
  rpc::TlsIdentity anonymous() const;

  // The 32-byte secret of a new invitation.
  StatusOr<std::string> Invite(const std::string& id);
  // Enrols with a fresh key.
  StatusOr<Owner> Enrol(const std::string& id);
  // A reader with a fresh key.
  StatusOr<rpc::TlsIdentity> MakeReader(const std::string& id) const;
  // Publishes the small anchor; returns its digest.
  StatusOr<std::string> PublishAnchor(const std::string& id = "tiny");

  // An expert whose bytes derive from `seed`.
  StatusOr<TestExpert> MakeExpert(const Owner& owner,
                                  const std::string& contribution, int seed);
  // Create, upload, submit.
  Status Contribute(const Owner& owner, const TestExpert& expert);
  // The same and admission.
  Status ContributeAndAdmit(const Owner& owner, const std::string& contribution,
                            int seed);
  StatusOr<v1::Release> BuildRelease();
  StatusOr<v1::Release> GetRelease(const Owner& owner, const std::string& name);
  StatusOr<v1::Contribution> GetContribution(const Owner& owner,
                                             const std::string& id);
  StatusOr<v1::Withdrawal> Withdraw(const Owner& owner, const std::string& id);
  StatusOr<v1::Withdrawal> GetWithdrawal(const Owner& owner,
                                         const std::string& id);

 private:
  TestFederation(TemporaryDirectory directory, const Settings& settings,
                 Server::Options::Jobs jobs);
  Status MakeKeys();

  TemporaryDirectory directory_;
  const Home home_;
  Settings settings_;
  const Server::Options::Jobs jobs_;
  TestClock clock_;
  WorkerScript script_;
  std::optional<crypto::CertificateAuthority> ca_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<Stubs> operator_;
};

// Uploads in one stream from `offset`; `finish` ends it as complete. Returns
// committed_size.
struct UploadRange {
  size_t offset = 0;
  size_t end = std::string::npos;
  enum class End { kFinish, kHalfClose, kCancel } how = End::kFinish;
};
StatusOr<int64_t> Upload(const Stubs& stubs, const std::string& contribution,
                         const manifest::BlobName& blob,
                         const std::string& bytes,
                         const UploadRange& range = {});

// Reads a whole blob.
StatusOr<std::string> Download(const Stubs& stubs, const std::string& name,
                               int64_t offset = 0);

}  // namespace tributary::coordinator

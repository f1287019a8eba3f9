#include "contributor/client/grpc_client.h"

#include <chrono>
#include <thread>
#include <utility>

#include "common/base/random.h"
#include "common/crypto/digest.h"
#include "common/rpc/channel.h"
#include "common/rpc/status_conversion.h"
#include "contributor/client/blob_transfer.h"
#include "contributor/client/call_guard.h"
#include "tributary/v1/anchor.grpc.pb.h"
#include "tributary/v1/audit.grpc.pb.h"
#include "tributary/v1/blob.grpc.pb.h"
#include "tributary/v1/contribution.grpc.pb.h"
#include "tributary/v1/enrolment.grpc.pb.h"
#include "tributary/v1/preflight.grpc.pb.h"
#include "tributary/v1/release.grpc.pb.h"
#include "tributary/v1/trust.grpc.pb.h"

namespace tributary::contributor {
namespace {

constexpr int kCallSeconds = 60;
constexpr int kPageSize = 1000;
constexpr std::chrono::milliseconds kWaitSlice{100};

// The request id of work that is the same whenever it is asked for: version 5
// in form, over SHA-256.
std::string StableRequestId(const std::string& work) {
  std::string hex = crypto::Sha256Hex(work).substr(0, 32);
  hex[12] = '5';
  hex[16] = "89ab"[std::stoi(hex.substr(16, 1), nullptr, 16) % 4];
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) +
         "-" + hex.substr(16, 4) + "-" + hex.substr(20);
}

// The part of gRPC's message that says why.
std::string Cause(const Status& status) {
  std::string message(status.message());
  for (const std::string prefix :
       {"failed to connect to all addresses; last error: ", "UNKNOWN: "}) {
    message.erase(0, message.rfind(prefix, 0) == 0 ? prefix.size() : 0);
  }
  return message;
}

// "cannot be reached" with the address, for errors of the connection.
Status Explain(const Status& status, const std::string& address) {
  if (!absl::IsUnavailable(status) && !absl::IsDeadlineExceeded(status)) {
    return status;
  }
  return Unavailable(
      "the coordinator at {} cannot be reached ({}): check that it runs, the "
      "address and the network",
      address, Cause(status));
}

// Waits between two attempts. A channel makes progress with its handshake only
// while somebody waits for it, so a lost connection is waited for here; once it
// stands, the next attempt need not wait longer.
void WaitOnChannel(grpc::Channel& channel, double seconds,
                   const CancellationToken* cancellation) {
  const bool connected = channel.GetState(false) == GRPC_CHANNEL_READY;
  const double end = SystemClock().MonotonicSeconds() + seconds;
  while (SystemClock().MonotonicSeconds() < end &&
         (cancellation == nullptr || !cancellation->IsCancelled())) {
    if (connected) {
      std::this_thread::sleep_for(kWaitSlice);
      continue;
    }
    const grpc_connectivity_state state = channel.GetState(true);
    if (state == GRPC_CHANNEL_READY) {
      return;
    }
    channel.WaitForStateChange(state,
                               std::chrono::system_clock::now() + kWaitSlice);
  }
}

// The options with a way of waiting that fits the channel.
GrpcClientOptions WaitingOn(const std::shared_ptr<grpc::Channel>& channel,
                            GrpcClientOptions options) {
  if (!options.retry.sleep) {
    options.retry.sleep = [channel,
                           token = options.retry.cancellation](double seconds) {
      WaitOnChannel(*channel, seconds, token);
    };
  }
  return options;
}

// A call of a stub with its retries.
template <typename Request, typename Response>
StatusOr<Response> CallWithRetry(
    const GrpcClientOptions& options, const Request& request,
    const std::function<grpc::Status(grpc::ClientContext*, const Request&,
                                     Response*)>& method) {
  Retrier retrier(options.retry);
  while (true) {
    Response response;
    Status status;
    {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() +
                           std::chrono::seconds(kCallSeconds));
      const CallGuard guard(context, options.retry.cancellation);
      status =
          Explain(rpc::FromGrpcStatus(method(&context, request, &response)),
                  options.address);
    }
    if (status.ok()) {
      return response;
    }
    RETURN_IF_ERROR(retrier.AfterFailure(status));
  }
}

class GrpcClient : public CoordinatorClient {
 public:
  explicit GrpcClient(const GrpcClientOptions& options)
      : channel_(rpc::CreateChannel(options.address, options.tls)),
        options_(WaitingOn(channel_, options)),
        anchors_(v1::AnchorService::NewStub(channel_)),
        audit_(v1::AuditService::NewStub(channel_)),
        blobs_(v1::BlobService::NewStub(channel_)),
        contributions_(v1::ContributionService::NewStub(channel_)),
        enrolment_(v1::EnrolmentService::NewStub(channel_)),
        preflight_(v1::PreflightService::NewStub(channel_)),
        releases_(v1::ReleaseService::NewStub(channel_)),
        trust_(v1::TrustService::NewStub(channel_)) {}

  StatusOr<v1::Anchor> GetAnchor(const std::string& name) override {
    v1::GetAnchorRequest request;
    request.set_name(name);
    return Call<v1::GetAnchorRequest, v1::Anchor>(
        request, [this](auto... arguments) {
          return anchors_->GetAnchor(arguments...);
        });
  }

  Status Download(const manifest::BlobName& blob, BlobCache& cache,
                  const TransferProgress& progress) override {
    return Explain(
        DownloadBlob(channel_, blob, cache, options_.retry, progress),
        options_.address);
  }

  StatusOr<v1::Contribution> CreateContribution(
      const ApprovedUpload& upload) override {
    v1::CreateContributionRequest request;
    request.set_request_id(
        StableRequestId("create " + upload.manifest_envelope_json()));
    request.set_manifest_envelope_json(upload.manifest_envelope_json());
    return Call<v1::CreateContributionRequest, v1::Contribution>(
        request, [this](auto... arguments) {
          return contributions_->CreateContribution(arguments...);
        });
  }

  Status Upload(const ApprovedUpload& upload,
                const TransferProgress& progress) override {
    for (const BlobUpload& file : UploadsOf(upload)) {
      v1::FindMissingBlobsRequest request;
      request.set_contribution("contributions/" + upload.contribution());
      request.add_blobs(file.blob.ToString());
      ASSIGN_OR_RETURN(
          const v1::FindMissingBlobsResponse missing,
          (Call<v1::FindMissingBlobsRequest, v1::FindMissingBlobsResponse>(
              request, [this](auto... arguments) {
                return blobs_->FindMissingBlobs(arguments...);
              })));
      if (!missing.missing_blobs().empty()) {
        RETURN_IF_ERROR(
            Explain(UploadBlob(channel_, file, options_.retry, progress),
                    options_.address));
      }
    }
    return absl::OkStatus();
  }

  StatusOr<v1::Contribution> SubmitContribution(
      const std::string& contribution) override {
    v1::SubmitContributionRequest request;
    request.set_request_id(RandomUuid());
    request.set_name("contributions/" + contribution);
    return Call<v1::SubmitContributionRequest, v1::Contribution>(
        request, [this](auto... arguments) {
          return contributions_->SubmitContribution(arguments...);
        });
  }

  StatusOr<v1::Contribution> GetContribution(
      const std::string& contribution) override {
    v1::GetContributionRequest request;
    request.set_name("contributions/" + contribution);
    return Call<v1::GetContributionRequest, v1::Contribution>(
        request, [this](auto... arguments) {
          return contributions_->GetContribution(arguments...);
        });
  }

  Status WatchContribution(
      const std::string& contribution,
      const std::function<bool(const v1::Contribution&)>& on_change) override {
    v1::WatchContributionRequest request;
    request.set_name("contributions/" + contribution);
    Retrier retrier(options_.retry);
    while (true) {
      Status status;
      {
        grpc::ClientContext context;
        const CallGuard guard(context, options_.retry.cancellation);
        const auto reader =
            contributions_->WatchContribution(&context, request);
        v1::Contribution seen;
        bool more = true;
        while (more && reader->Read(&seen)) {
          retrier.Progressed();
          more = on_change(seen);
        }
        if (!more) {
          context.TryCancel();
          reader->Finish();
          return absl::OkStatus();
        }
        status =
            Explain(rpc::FromGrpcStatus(reader->Finish()), options_.address);
      }
      if (status.ok()) {
        return status;
      }
      RETURN_IF_ERROR(retrier.AfterFailure(status));
    }
  }

  StatusOr<v1::Withdrawal> WithdrawContribution(
      const std::string& contribution) override {
    v1::WithdrawContributionRequest request;
    request.set_request_id(RandomUuid());
    request.set_name("contributions/" + contribution);
    return Call<v1::WithdrawContributionRequest, v1::Withdrawal>(
        request, [this](auto... arguments) {
          return contributions_->WithdrawContribution(arguments...);
        });
  }

  StatusOr<v1::Withdrawal> GetWithdrawal(
      const std::string& contribution) override {
    v1::GetWithdrawalRequest request;
    request.set_name("withdrawals/" + contribution);
    return Call<v1::GetWithdrawalRequest, v1::Withdrawal>(
        request, [this](auto... arguments) {
          return contributions_->GetWithdrawal(arguments...);
        });
  }

  StatusOr<v1::Release> GetRelease(const std::string& name) override {
    v1::GetReleaseRequest request;
    request.set_name(name);
    return Call<v1::GetReleaseRequest, v1::Release>(
        request, [this](auto... arguments) {
          return releases_->GetRelease(arguments...);
        });
  }

  StatusOr<std::vector<v1::Release>> ListReleases() override {
    std::vector<v1::Release> all;
    v1::ListReleasesRequest request;
    request.set_page_size(kPageSize);
    do {
      ASSIGN_OR_RETURN(v1::ListReleasesResponse page,
                       (Call<v1::ListReleasesRequest, v1::ListReleasesResponse>(
                           request, [this](auto... arguments) {
                             return releases_->ListReleases(arguments...);
                           })));
      for (v1::Release& release : *page.mutable_releases()) {
        all.push_back(std::move(release));
      }
      request.set_page_token(page.next_page_token());
    } while (!request.page_token().empty());
    return all;
  }

  StatusOr<std::vector<v1::ReleaseExpert>> ListReleaseExperts(
      const std::string& name) override {
    std::vector<v1::ReleaseExpert> all;
    v1::ListReleaseExpertsRequest request;
    request.set_name(name);
    do {
      ASSIGN_OR_RETURN(
          v1::ListReleaseExpertsResponse page,
          (Call<v1::ListReleaseExpertsRequest, v1::ListReleaseExpertsResponse>(
              request, [this](auto... arguments) {
                return releases_->ListReleaseExperts(arguments...);
              })));
      for (v1::ReleaseExpert& expert : *page.mutable_experts()) {
        all.push_back(std::move(expert));
      }
      request.set_page_token(page.next_page_token());
    } while (!request.page_token().empty());
    return all;
  }

  Status ReportEvaluation(
      const std::string& release,
      const std::vector<v1::Evaluation>& evaluations) override {
    v1::ReportEvaluationRequest request;
    request.set_request_id(RandomUuid());
    request.set_release(release);
    for (const v1::Evaluation& evaluation : evaluations) {
      *request.add_evaluations() = evaluation;
    }
    return Call<v1::ReportEvaluationRequest, v1::ReportEvaluationResponse>(
               request,
               [this](auto... arguments) {
                 return releases_->ReportEvaluation(arguments...);
               })
        .status();
  }

  StatusOr<v1::RenewCertificateResponse> RenewCertificate(
      const std::string& certificate_signing_request_pem) override {
    v1::RenewCertificateRequest request;
    request.set_request_id(RandomUuid());
    request.set_certificate_signing_request_pem(
        certificate_signing_request_pem);
    return Call<v1::RenewCertificateRequest, v1::RenewCertificateResponse>(
        request, [this](auto... arguments) {
          return enrolment_->RenewCertificate(arguments...);
        });
  }

  StatusOr<v1::TrustBundle> GetTrustBundle() override {
    return Call<v1::GetTrustBundleRequest, v1::TrustBundle>(
        v1::GetTrustBundleRequest(), [this](auto... arguments) {
          return trust_->GetTrustBundle(arguments...);
        });
  }

  StatusOr<v1::ProbeResponse> Probe(int64_t request_bytes,
                                    int64_t response_bytes) override {
    v1::ProbeRequest request;
    request.mutable_padding()->resize(static_cast<size_t>(request_bytes));
    request.set_response_bytes(static_cast<int32_t>(response_bytes));
    return Call<v1::ProbeRequest, v1::ProbeResponse>(
        request,
        [this](auto... arguments) { return preflight_->Probe(arguments...); });
  }

  StatusOr<v1::Checkpoint> GetCheckpoint(int64_t size) override {
    v1::GetCheckpointRequest request;
    request.set_size(size);
    return Call<v1::GetCheckpointRequest, v1::Checkpoint>(
        request, [this](auto... arguments) {
          return audit_->GetCheckpoint(arguments...);
        });
  }

 private:
  template <typename Request, typename Response>
  StatusOr<Response> Call(
      const Request& request,
      const std::function<grpc::Status(grpc::ClientContext*, const Request&,
                                       Response*)>& method) {
    return CallWithRetry<Request, Response>(options_, request, method);
  }

  const std::shared_ptr<grpc::Channel> channel_;
  const GrpcClientOptions options_;
  const std::unique_ptr<v1::AnchorService::Stub> anchors_;
  const std::unique_ptr<v1::AuditService::Stub> audit_;
  const std::unique_ptr<v1::BlobService::Stub> blobs_;
  const std::unique_ptr<v1::ContributionService::Stub> contributions_;
  const std::unique_ptr<v1::EnrolmentService::Stub> enrolment_;
  const std::unique_ptr<v1::PreflightService::Stub> preflight_;
  const std::unique_ptr<v1::ReleaseService::Stub> releases_;
  const std::unique_ptr<v1::TrustService::Stub> trust_;
};

}  // namespace

std::unique_ptr<CoordinatorClient> CreateGrpcClient(
    const GrpcClientOptions& options) {
  return std::make_unique<GrpcClient>(options);
}

StatusOr<v1::EnrolResponse> CallEnrol(const GrpcClientOptions& options,
                                      const v1::EnrolRequest& request) {
  const auto channel = rpc::CreateChannel(options.address, options.tls);
  const auto stub = v1::EnrolmentService::NewStub(channel);
  return CallWithRetry<v1::EnrolRequest, v1::EnrolResponse>(
      WaitingOn(channel, options), request,
      [&](auto... arguments) { return stub->Enrol(arguments...); });
}

}  // namespace tributary::contributor

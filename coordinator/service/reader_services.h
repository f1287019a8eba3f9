#pragma once

// What readers ask for: anchors, releases and the head of the audit log.

#include "coordinator/service/release_signature.h"
#include "coordinator/service/service_context.h"
#include "tributary/v1/anchor.grpc.pb.h"
#include "tributary/v1/audit.grpc.pb.h"
#include "tributary/v1/release.grpc.pb.h"

namespace tributary::coordinator {

class AnchorServiceImpl final : public v1::AnchorService::Service {
 public:
  explicit AnchorServiceImpl(const ServiceContext& context)
      : context_(context) {}

  grpc::Status GetAnchor(grpc::ServerContext* call,
                         const v1::GetAnchorRequest* request,
                         v1::Anchor* response) override;
  grpc::Status ListAnchors(grpc::ServerContext* call,
                           const v1::ListAnchorsRequest* request,
                           v1::ListAnchorsResponse* response) override;

 private:
  const ServiceContext& context_;
};

class ReleaseServiceImpl final : public v1::ReleaseService::Service {
 public:
  explicit ReleaseServiceImpl(const ServiceContext& context)
      : context_(context) {}

  grpc::Status GetRelease(grpc::ServerContext* call,
                          const v1::GetReleaseRequest* request,
                          v1::Release* response) override;
  grpc::Status ListReleases(grpc::ServerContext* call,
                            const v1::ListReleasesRequest* request,
                            v1::ListReleasesResponse* response) override;
  grpc::Status ListReleaseExperts(
      grpc::ServerContext* call, const v1::ListReleaseExpertsRequest* request,
      v1::ListReleaseExpertsResponse* response) override;
  grpc::Status ReportEvaluation(
      grpc::ServerContext* call, const v1::ReportEvaluationRequest* request,
      v1::ReportEvaluationResponse* response) override;

 private:
  const ServiceContext& context_;
  ReleaseSignatures signatures_;
};

class AuditServiceImpl final : public v1::AuditService::Service {
 public:
  explicit AuditServiceImpl(const ServiceContext& context)
      : context_(context) {}

  grpc::Status GetCheckpoint(grpc::ServerContext* call,
                             const v1::GetCheckpointRequest* request,
                             v1::Checkpoint* response) override;
  grpc::Status ListAuditRecords(
      grpc::ServerContext* call, const v1::ListAuditRecordsRequest* request,
      v1::ListAuditRecordsResponse* response) override;

 private:
  const ServiceContext& context_;
};

}  // namespace tributary::coordinator

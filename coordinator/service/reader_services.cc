#include "coordinator/service/reader_services.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/manifest/audit_record.h"
#include "common/manifest/resource_name.h"
#include "common/rpc/status_conversion.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/service/convert.h"
#include "coordinator/service/paging.h"
#include "coordinator/service/release_experts.h"
#include "coordinator/service/release_signature.h"
#include "coordinator/service/request_once.h"
#include "coordinator/service/serve.h"

namespace tributary::coordinator {
namespace {

using manifest::Collection;
using manifest::ParseResourceName;

constexpr int kMaxEvaluations = 100;
constexpr char kCurrentAnchor[] = "current";

// Labels are plain words: no text of a site gets in here.
bool IsModelLabel(const std::string& label) {
  return !label.empty() && label.size() <= 63 &&
         std::all_of(label.begin(), label.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_';
         });
}

StatusOr<std::vector<EvaluationRow>> ReadEvaluations(
    const v1::ReportEvaluationRequest& request) {
  if (request.evaluations_size() > kMaxEvaluations) {
    return InvalidArgument("evaluations: got {}, wanted at most {}",
                           request.evaluations_size(), kMaxEvaluations);
  }
  std::vector<EvaluationRow> rows;
  for (const v1::Evaluation& item : request.evaluations()) {
    RETURN_IF_ERROR(
        manifest::CheckId("evaluations.text_label", item.text_label()));
    if (!IsModelLabel(item.model())) {
      return InvalidArgument(
          "evaluations.model: got '{}', wanted a label such as anchor, own or "
          "release",
          item.model());
    }
    if (!std::isfinite(item.log_loss()) || item.log_loss() < 0 ||
        item.tokens() <= 0) {
      return InvalidArgument(
          "evaluations: log-loss {} over {} tokens, wanted finite and positive "
          "numbers",
          item.log_loss(), item.tokens());
    }
    rows.push_back({.text_label = item.text_label(),
                    .model = item.model(),
                    .log_loss = item.log_loss(),
                    .tokens = item.tokens()});
  }
  return rows;
}

}  // namespace

grpc::Status AnchorServiceImpl::GetAnchor(grpc::ServerContext* call,
                                          const v1::GetAnchorRequest* request,
                                          v1::Anchor* response) {
  return Serve(
      context_, *call, "AnchorService.GetAnchor", *request, [&]() -> Status {
        RETURN_IF_ERROR(RequireReader(context_.core, *call).status());
        ASSIGN_OR_RETURN(
            const std::string id,
            ParseResourceName(Collection::kAnchors, request->name()));
        return context_.core.database.Transact(
            [&](Transaction& transaction) -> Status {
              AnchorStore anchors(transaction);
              const auto row =
                  id == kCurrentAnchor ? anchors.Current() : anchors.Find(id);
              if (!row) {
                return NotFound("{}: no such anchor is published",
                                request->name());
              }
              *response = ToProto(*row);
              return absl::OkStatus();
            });
      });
}

grpc::Status AnchorServiceImpl::ListAnchors(
    grpc::ServerContext* call, const v1::ListAnchorsRequest* request,
    v1::ListAnchorsResponse* response) {
  return Serve(
      context_, *call, "AnchorService.ListAnchors", *request, [&]() -> Status {
        RETURN_IF_ERROR(RequireReader(context_.core, *call).status());
        ASSIGN_OR_RETURN(
            const Page page,
            ParsePage(request->page_size(), request->page_token(), "anchors"));
        ASSIGN_OR_RETURN(const int64_t before, page.Before());
        return context_.core.database.Transact([&](Transaction& transaction) {
          const std::vector<AnchorRow> rows =
              AnchorStore(transaction).List(before, page.size);
          for (const AnchorRow& row : rows) {
            *response->add_anchors() = ToProto(row);
          }
          if (static_cast<int64_t>(rows.size()) == page.size) {
            response->set_next_page_token(
                NextPageToken("anchors", std::to_string(rows.back().sequence)));
          }
          return absl::OkStatus();
        });
      });
}

grpc::Status ReleaseServiceImpl::GetRelease(
    grpc::ServerContext* call, const v1::GetReleaseRequest* request,
    v1::Release* response) {
  return Serve(
      context_, *call, "ReleaseService.GetRelease", *request, [&]() -> Status {
        ASSIGN_OR_RETURN(const Caller caller,
                         RequireReader(context_.core, *call));
        return context_.core.database.Transact(
            [&](Transaction& transaction) -> Status {
              ASSIGN_OR_RETURN(
                  const ReleaseRow row,
                  FindRelease(transaction, request->name(), caller));
              *response = ToProto(
                  row, ReleaseStore(transaction).EvaluationsOf(row.number));
              if (row.served()) {
                ASSIGN_OR_RETURN(*response->mutable_model_signature_json(),
                                 signatures_.Of(context_, transaction, row));
              }
              return absl::OkStatus();
            });
      });
}

grpc::Status ReleaseServiceImpl::ListReleases(
    grpc::ServerContext* call, const v1::ListReleasesRequest* request,
    v1::ListReleasesResponse* response) {
  return Serve(
      context_, *call, "ReleaseService.ListReleases", *request,
      [&]() -> Status {
        ASSIGN_OR_RETURN(const Caller caller,
                         RequireReader(context_.core, *call));
        ASSIGN_OR_RETURN(
            const Page page,
            ParsePage(request->page_size(), request->page_token(), "releases"));
        ASSIGN_OR_RETURN(const int64_t before, page.Before());
        return context_.core.database.Transact([&](Transaction& transaction) {
          ReleaseStore releases(transaction);
          const std::vector<ReleaseRow> rows = releases.List(before, page.size);
          for (const ReleaseRow& row : rows) {
            if (caller.is_operator() || row.served() ||
                row.state == ReleaseState::kWithdrawn) {
              *response->add_releases() =
                  ToProto(row, releases.EvaluationsOf(row.number));
            }
          }
          if (static_cast<int64_t>(rows.size()) == page.size) {
            response->set_next_page_token(
                NextPageToken("releases", std::to_string(rows.back().number)));
          }
          return absl::OkStatus();
        });
      });
}

grpc::Status ReleaseServiceImpl::ListReleaseExperts(
    grpc::ServerContext* call, const v1::ListReleaseExpertsRequest* request,
    v1::ListReleaseExpertsResponse* response) {
  return Serve(context_, *call, "ReleaseService.ListReleaseExperts", *request,
               [&]() -> Status {
                 ASSIGN_OR_RETURN(const Caller caller,
                                  RequireReader(context_.core, *call));
                 return coordinator::ListReleaseExperts(context_.core, caller,
                                                        *request, *response);
               });
}

grpc::Status ReleaseServiceImpl::ReportEvaluation(
    grpc::ServerContext* call, const v1::ReportEvaluationRequest* request,
    v1::ReportEvaluationResponse*) {
  return Serve(
      context_, *call, "ReleaseService.ReportEvaluation", *request,
      [&]() -> Status {
        const Core& core = context_.core;
        ASSIGN_OR_RETURN(const Caller caller, RequireContributor(core, *call));
        ASSIGN_OR_RETURN(const RequestKey key,
                         KeyOf(caller.uri, request->request_id(), *request));
        ASSIGN_OR_RETURN(const std::vector<EvaluationRow> rows,
                         ReadEvaluations(*request));
        return RunOnce(
                   core, key,
                   [&](Transaction& transaction) -> StatusOr<std::string> {
                     ASSIGN_OR_RETURN(
                         const ReleaseRow release,
                         FindRelease(transaction, request->release(), caller));
                     ReleaseStore(transaction)
                         .PutEvaluations(
                             release.number,
                             manifest::ResourceName(Collection::kContributors,
                                                    caller.id),
                             rows);
                     RETURN_IF_ERROR(core.Audit(
                         transaction,
                         {.actor = caller.uri,
                          .action = "release.report_evaluation",
                          .subject = manifest::ReleaseName(release.number)},
                         {{"evaluations", rows.size()}}));
                     return manifest::ReleaseName(release.number);
                   })
            .status();
      });
}

grpc::Status AuditServiceImpl::GetCheckpoint(
    grpc::ServerContext* call, const v1::GetCheckpointRequest* request,
    v1::Checkpoint* response) {
  return Serve(
      context_, *call, "AuditService.GetCheckpoint", *request, [&]() -> Status {
        const Core& core = context_.core;
        RETURN_IF_ERROR(RequireReader(core, *call).status());
        manifest::Chain head;
        RETURN_IF_ERROR(core.database.Transact([&](Transaction& transaction) {
          AuditLog log(transaction);
          if (request->size() == 0) {
            head = log.Head();
            return absl::OkStatus();
          }
          StatusOr<manifest::Chain> earlier = log.At(request->size());
          if (earlier.ok()) {
            head = *std::move(earlier);
          }
          return earlier.status();
        }));
        manifest::AuditCheckpoint checkpoint;
        checkpoint.federation = core.settings.federation;
        checkpoint.size = head.size();
        checkpoint.head_hash = head.head_hash();
        checkpoint.time_s = core.now_s();
        ASSIGN_OR_RETURN(
            *response->mutable_envelope_json(),
            manifest::SignAuditCheckpoint(checkpoint, core.signer));
        response->set_size(checkpoint.size);
        response->set_head_hash(checkpoint.head_hash);
        response->set_time_s(checkpoint.time_s);
        return absl::OkStatus();
      });
}

}  // namespace tributary::coordinator

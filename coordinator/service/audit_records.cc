#include <charconv>

#include "common/manifest/audit_record.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/service/paging.h"
#include "coordinator/service/reader_services.h"
#include "coordinator/service/serve.h"

namespace tributary::coordinator {
namespace {

constexpr size_t kMaxPageBytes = 2 << 20;

// Where a page begins.
StatusOr<int64_t> FirstOf(const v1::ListAuditRecordsRequest& request,
                          const Page& page) {
  if (request.first_position() < 0) {
    return InvalidArgument("first_position: got {}, wanted at least 0",
                           request.first_position());
  }
  if (page.after.empty()) {
    return request.first_position();
  }
  int64_t next = 0;
  const char* const end = page.after.data() + page.after.size();
  const auto result = std::from_chars(page.after.data(), end, next);
  if (result.ec != std::errc() || result.ptr != end || next < 0) {
    return InvalidArgument("page_token: malformed; start from the first page");
  }
  return next;
}

StatusOr<v1::AuditRecord> ToProto(const StoredAuditRecord& stored) {
  ASSIGN_OR_RETURN(manifest::AuditRecord record,
                   manifest::AuditRecord::FromJson(stored.record_json));
  v1::AuditRecord out;
  out.set_position(stored.position);
  out.set_time_s(record.time_s);
  out.set_actor(std::move(record.actor));
  out.set_action(std::move(record.action));
  out.set_subject(std::move(record.subject));
  out.set_detail_json(std::move(record.detail_json));
  out.set_record_json(stored.record_json);
  out.set_hash(stored.hash);
  return out;
}

Status ListRecords(const Core& core, const v1::ListAuditRecordsRequest& request,
                   v1::ListAuditRecordsResponse& response) {
  const std::string list =
      fmt::format("audit records from {} about {}", request.first_position(),
                  request.subject());
  ASSIGN_OR_RETURN(const Page page,
                   ParsePage(request.page_size(), request.page_token(), list));
  ASSIGN_OR_RETURN(int64_t next, FirstOf(request, page));
  return core.database.Transact([&](Transaction& transaction) -> Status {
    AuditLog log(transaction);
    const AuditLog::Slice slice = log.List(
        {.first = next, .limit = page.size, .subject = request.subject()});
    next = slice.next;
    size_t bytes = 0;
    for (const StoredAuditRecord& stored : slice.records) {
      if (bytes >= kMaxPageBytes) {
        next = stored.position;
        break;
      }
      ASSIGN_OR_RETURN(v1::AuditRecord record, ToProto(stored));
      bytes += record.ByteSizeLong();
      *response.add_records() = std::move(record);
    }
    if (next < log.Head().size()) {
      response.set_next_page_token(NextPageToken(list, std::to_string(next)));
    }
    return absl::OkStatus();
  });
}

}  // namespace

grpc::Status AuditServiceImpl::ListAuditRecords(
    grpc::ServerContext* call, const v1::ListAuditRecordsRequest* request,
    v1::ListAuditRecordsResponse* response) {
  return Serve(
      context_, *call, "AuditService.ListAuditRecords", *request,
      [&]() -> Status {
        RETURN_IF_ERROR(RequireOperator(context_.core, *call).status());
        return ListRecords(context_.core, *request, *response);
      });
}

}  // namespace tributary::coordinator

#include "coordinator/service/preflight_service.h"

#include "coordinator/service/authorisation.h"
#include "coordinator/service/serve.h"

namespace tributary::coordinator {
namespace {

constexpr int64_t kMaxPadding = 1 << 20;
// Of up to 1 MiB each: enough for a few seconds on a fast line, too little to
// fill it for long.
constexpr Rate kEachProbes{.burst = 256, .per_second = 4};
constexpr Rate kAllProbes{.burst = 2048, .per_second = 64};

Status CheckSize(const char* field, int64_t bytes) {
  return bytes >= 0 && bytes <= kMaxPadding
             ? absl::OkStatus()
             : InvalidArgument("{}: got {} bytes, wanted at most {}", field,
                               bytes, kMaxPadding);
}

}  // namespace

PreflightServiceImpl::PreflightServiceImpl(const ServiceContext& context)
    : context_(context),
      limiter_({.each = kEachProbes, .all = kAllProbes}, context.core.clock) {}

grpc::Status PreflightServiceImpl::Probe(grpc::ServerContext* call,
                                         const v1::ProbeRequest* request,
                                         v1::ProbeResponse* response) {
  return Serve(
      context_, *call, "PreflightService.Probe", *request, [&]() -> Status {
        ASSIGN_OR_RETURN(const Caller caller,
                         RequireReader(context_.core, *call));
        RETURN_IF_ERROR(CheckSize(
            "padding", static_cast<int64_t>(request->padding().size())));
        RETURN_IF_ERROR(CheckSize("response_bytes", request->response_bytes()));
        if (!limiter_.Admit(caller.uri)) {
          return ResourceExhausted(
              "too many probes lately; try again in a minute");
        }
        response->set_time_ms(
            static_cast<int64_t>(context_.core.clock.NowSeconds() * 1000));
        response->mutable_padding()->resize(
            static_cast<size_t>(request->response_bytes()));
        return absl::OkStatus();
      });
}

}  // namespace tributary::coordinator

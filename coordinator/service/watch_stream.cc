#include "coordinator/service/watch_stream.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "common/manifest/resource_name.h"
#include "coordinator/service/authorisation.h"
#include "coordinator/service/contribution_service.h"
#include "coordinator/service/convert.h"
#include "coordinator/service/stream_end.h"
#include "coordinator/service/stream_steps.h"

namespace tributary::coordinator {
namespace {

class WatchStream final : public grpc::ServerWriteReactor<v1::Contribution>,
                          public StreamSteps {
 public:
  WatchStream(const ServiceContext& context, grpc::CallbackServerContext& call,
              const v1::WatchContributionRequest& request)
      : StreamSteps(context.pool),
        context_(context),
        end_(context, call, "ContributionService.WatchContribution",
             v1::WatchContributionRequest::default_instance()),
        call_(call),
        name_(request.name()) {}

  void Start() {
    Keep();
    Schedule();
  }

  void OnWriteDone(bool ok) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      writing_ = false;
    }
    if (ok) {
      Schedule();
    } else {
      End(absl::CancelledError("the client has gone"));
    }
  }

  void OnCancel() override { End(absl::CancelledError("the client has gone")); }

  void OnDone() override { Release(); }

 private:
  bool HasWork() const override {
    return !writing_ && (ending() || changed_ || final_);
  }

  void OnEnd() override {
    bool stuck = false;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stuck = writing_;
    }
    if (stuck) {
      call_.TryCancel();
    }
  }

  std::optional<Status> Step() override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (final_) {
        return absl::OkStatus();
      }
      changed_ = false;
    }
    if (!place_) {
      if (const Status opened = Open(); !opened.ok()) {
        return opened;
      }
    }
    StatusOr<v1::Contribution> now = ReadNow();
    if (!now.ok()) {
      return now.status();
    }
    const std::string bytes = now->SerializeAsString();
    if (bytes == sent_) {
      return std::nullopt;
    }
    sent_ = bytes;
    current_ = *std::move(now);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      writing_ = true;
      final_ = current_.state() == v1::Contribution::PURGED;
    }
    StartWrite(&current_);
    return std::nullopt;
  }

  Status Open() {
    ASSIGN_OR_RETURN(caller_, RequireContributor(context_.core, call_));
    ASSIGN_OR_RETURN(
        place_,
        context_.streams.Enter(caller_.uri, StreamKind::kWatch,
                               [self = weak_from_this()](const Status& status) {
                                 if (const auto stream = self.lock()) {
                                   stream->End(status);
                                 }
                               }));
    subscription_ = context_.changes.Subscribe([self = weak_from_this()] {
      if (const auto stream = self.lock()) {
        static_cast<WatchStream&>(*stream).OnChange();
      }
    });
    return absl::OkStatus();
  }

  // Again after every change: the caller may have been revoked.
  StatusOr<v1::Contribution> ReadNow() {
    const Core& core = context_.core;
    RETURN_IF_ERROR(CheckStillAllowed(core, caller_));
    ASSIGN_OR_RETURN(const ContributionRow row,
                     ReadOwnContribution(core, caller_, name_));
    return ToProto(row);
  }

  void OnChange() {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      changed_ = true;
    }
    Schedule();
  }

  void Conclude(const Status& status) override {
    if (subscription_) {
      context_.changes.Unsubscribe(*subscription_);
    }
    place_.reset();
    Finish(end_.Convert(status));
  }

  const ServiceContext& context_;
  const StreamEnd end_;
  grpc::CallbackServerContext& call_;
  const std::string name_;

  // Used by one step at a time.
  Caller caller_;
  std::unique_ptr<StreamRegistry::Place> place_;
  std::optional<uint64_t> subscription_;
  std::string sent_;
  v1::Contribution current_;  // of the write that runs

  // Guarded by mutex_.
  bool changed_ = true;
  bool writing_ = false;
  bool final_ = false;
};

}  // namespace

grpc::ServerWriteReactor<v1::Contribution>* StartWatch(
    const ServiceContext& context, grpc::CallbackServerContext& call,
    const v1::WatchContributionRequest& request) {
  const auto stream = std::make_shared<WatchStream>(context, call, request);
  stream->Start();
  return stream.get();
}

}  // namespace tributary::coordinator

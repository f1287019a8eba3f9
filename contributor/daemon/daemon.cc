#include "contributor/daemon/daemon.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "common/base/retry.h"
#include "common/manifest/resource_name.h"
#include "contributor/client/copies.h"
#include "contributor/daemon/certificate_keeper.h"
#include "contributor/pipeline/site_rules.h"

namespace tributary::contributor {
namespace {

class Daemon {
 public:
  Daemon(Session& session, double poll_seconds,
         const CancellationToken& cancellation, const DaemonEvents& events)
      : session_(session),
        cancellation_(cancellation),
        events_(events),
        keeper_(poll_seconds, [&session] { return session.RenewFiles(); }) {}

  // One round of everything that can be done now.
  Status Round() {
    {
      const auto alone = keeper_.Pause();
      RETURN_IF_ERROR(session_.RenewCertificate());
    }
    RETURN_IF_ERROR(session_.CheckAudit());
    ASSIGN_OR_RETURN(const FileLock lock,
                     LockHome(session_.home(), cancellation_));
    const PipelineContext context = session_.Context(events_.progress);
    StatusOr<v1::Contribution> contribution = AdvanceContribution(context);
    if (contribution.ok()) {
      NoteState(*contribution);
    } else if (NeedsApproval(context)) {
      NoteWait(contribution.status());
    } else {
      return contribution.status();
    }
    return FollowReleases(context);
  }

  // Whether a round that failed so is worth another one at once: a CA was
  // replaced in its middle.
  bool LearnedTrustAfter(const Status& status) {
    const auto alone = keeper_.Pause();
    return session_.LearnedTrustAfter(status);
  }

  void NoteWait(const Status& status) {
    const std::string message(status.message());
    if (events_.on_wait && message != last_wait_) {
      last_wait_ = message;
      events_.on_wait(status);
    }
  }

 private:
  // Waiting for a person is no error of the daemon.
  bool NeedsApproval(const PipelineContext& context) const {
    const StatusOr<SiteRules> rules = RulesOf(context.config);
    return rules.ok() &&
           LoadReport(session_.home(), ContributionOf(context)).ok() &&
           absl::IsFailedPrecondition(
               LoadApproved(session_.home(), ContributionOf(context), *rules,
                            context.identity.key.public_key())
                   .status());
  }

  void NoteState(const v1::Contribution& contribution) {
    last_wait_.clear();
    if (contribution.state() != last_state_ && events_.on_contribution) {
      events_.on_contribution(contribution);
    }
    last_state_ = contribution.state();
  }

  Status FollowReleases(const PipelineContext& context) {
    ASSIGN_OR_RETURN(const std::vector<v1::Release> releases,
                     context.client.ListReleases());
    ASSIGN_OR_RETURN(const auto marked,
                     MarkWithdrawnCopies(session_.home(), releases));
    for (const std::filesystem::path& copy : marked) {
      if (events_.on_withdrawn_copy) {
        events_.on_withdrawn_copy(copy);
      }
    }
    for (const v1::Release& release : releases) {
      if (release.state() != v1::Release::PUBLISHED) {
        continue;
      }
      ASSIGN_OR_RETURN(const int64_t number,
                       manifest::ParseReleaseName(release.name()));
      if (number == skipped_release_ ||
          IsEvaluated(session_.home(), ContributionOf(context), number)) {
        continue;
      }
      RETURN_IF_ERROR(Evaluate(context, release.name(), number));
    }
    return absl::OkStatus();
  }

  Status Evaluate(const PipelineContext& context, const std::string& name,
                  int64_t number) {
    const StatusOr<ReleaseEvaluation> evaluation =
        EvaluateRelease(context, name);
    if (absl::IsFailedPrecondition(evaluation.status())) {
      // Withdrawn meanwhile, or made for another anchor.
      skipped_release_ = number;
      NoteWait(evaluation.status());
      return absl::OkStatus();
    }
    RETURN_IF_ERROR(evaluation.status());
    if (events_.on_evaluation) {
      events_.on_evaluation(*evaluation);
    }
    return absl::OkStatus();
  }

  Session& session_;
  const CancellationToken& cancellation_;
  const DaemonEvents& events_;
  std::string last_wait_;
  v1::Contribution::State last_state_ = v1::Contribution::STATE_UNSPECIFIED;
  int64_t skipped_release_ = 0;
  CertificateKeeper keeper_;
};

void Sleep(double seconds, const CancellationToken& cancellation) {
  const double end = SystemClock().MonotonicSeconds() + seconds;
  while (SystemClock().MonotonicSeconds() < end &&
         !cancellation.IsCancelled()) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
}

}  // namespace

Status RunDaemon(Session& session, double poll_seconds,
                 const CancellationToken& cancellation,
                 const DaemonEvents& events) {
  Daemon daemon(session, poll_seconds, cancellation, events);
  while (!cancellation.IsCancelled()) {
    const Status status = daemon.Round();
    if (cancellation.IsCancelled()) {
      break;
    }
    if (daemon.LearnedTrustAfter(status)) {
      continue;
    }
    if (!status.ok()) {
      if (!IsTransient(status)) {
        return status;
      }
      daemon.NoteWait(status);
    }
    Sleep(poll_seconds, cancellation);
  }
  return absl::OkStatus();
}

}  // namespace tributary::contributor

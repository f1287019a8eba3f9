#pragma once

// From a measured expert file to the coordinator's decision.

#include <functional>
#include <string>

#include "common/base/cancellation.h"
#include "common/base/clock.h"
#include "common/base/status.h"
#include "contributor/client/coordinator_client.h"
#include "contributor/client/fetch.h"
#include "contributor/client/identity.h"
#include "contributor/pipeline/local_pipeline.h"
#include "contributor/pipeline/worker_runner.h"
#include "tributary/config/contributor.pb.h"

namespace tributary::contributor {

// What the pipeline works with; everything outlives it.
struct PipelineContext {
  const Home& home;
  const config::ContributorConfig& config;  // has its defaults
  const Identity& identity;
  CoordinatorClient& client;
  BlobCache& cache;
  WorkerRunner& worker;
  const Clock& clock;
  StageProgress progress;
};

// The contribution's id.
std::string ContributionOf(const PipelineContext& context);

// A download that reports its progress as `stage`; `context` outlives it.
FetchContext FetchingFor(const PipelineContext& context, const char* stage);

// The anchor that the pipeline is to use: the coordinator's current one, or,
// with `kStored`, the one of the last run if it is there.
enum class AnchorChoice { kCurrent, kStored };
StatusOr<FetchedAnchor> PipelineAnchor(const PipelineContext& context,
                                       AnchorChoice choice);

// The anchor of the last run, without a network. NOT_FOUND when there is none.
StatusOr<FetchedAnchor> StoredAnchor(const PipelineContext& context);

// Brings the contribution as far as it gets without waiting for the
// coordinator: runs the missing stages, reports, approves where the policy
// does, registers, uploads and submits. Each step that was done before is
// skipped. Returns the contribution as the coordinator has it.
// FAILED_PRECONDITION: a person has to approve, or the anchor has changed.
StatusOr<v1::Contribution> AdvanceContribution(const PipelineContext& context);

// Writes the egress report of the finished stages, and approves it where the
// policy does. Does not contact the coordinator.
Status PrepareEgress(const PipelineContext& context,
                     const LocalPipeline& pipeline);

// Registers, uploads and submits what is approved.
StatusOr<v1::Contribution> SendApproved(const PipelineContext& context);

// Follows the contribution until admission has decided.
StatusOr<v1::Contribution> WaitForDecision(const PipelineContext& context);

// True when the coordinator will not change the state by itself any more.
bool IsDecided(const v1::Contribution& contribution);

// OK for ACCEPTED. ABORTED for REJECTED, with the gate and its numbers;
// FAILED_PRECONDITION for QUARANTINED, WITHDRAWN and PURGED; UNAVAILABLE when
// admission itself failed.
Status DecisionStatus(const v1::Contribution& contribution);

// "public_loss_increase 0.0812 (at most 0.05), ...".
std::string DescribeMeasurements(const v1::GateResult& gate);

}  // namespace tributary::contributor

#pragma once

#include <optional>
#include <string>

#include "common/base/cancellation.h"
#include "common/base/status.h"
#include "common/crypto/certificate.h"
#include "common/manifest/anchor_manifest.h"
#include "common/manifest/expert_manifest.h"
#include "coordinator/admission/job_folder.h"
#include "coordinator/admission/task_runner.h"
#include "coordinator/storage/contribution_store.h"
#include "coordinator/storage/contributor_store.h"
#include "coordinator/storage/core.h"
#include "coordinator/storage/decision.h"

namespace tributary::coordinator {

// How a background job is being run.
struct JobContext {
  std::string id;  // name of its working folder
  int64_t attempt = 1;
  const CancellationToken& cancellation;
};

// What the signature of a manifest is worth.
struct SignedManifest {
  manifest::ExpertManifest manifest;
  std::string digest;
};

// Checks what a contributor offers before anything is stored: the envelope is
// signed with a key that the federation certified for `contributor`, it speaks
// for this federation and contributor, and fits `anchor`. UNAUTHENTICATED,
// INVALID_ARGUMENT, FAILED_PRECONDITION (another anchor is current).
StatusOr<SignedManifest> OpenOffer(Transaction& transaction,
                                   const std::string& federation,
                                   const std::string& contributor,
                                   const std::string& envelope_json);

// Decides on submitted contributions.
class Admission {
 public:
  Admission(const Core& core, TaskRunner& runner)
      : core_(core), runner_(runner) {}

  // Runs all gates on a SUBMITTED or VALIDATING contribution, cheapest first,
  // and records the decision; does nothing in any other state. What a worker's
  // crash leaves undecided is tried again; after kMaxAttempts the outcome is
  // ERROR. CANCELLED when cancelled: run it again, unless the contribution was
  // withdrawn. Other errors: run it again.
  Status Run(const std::string& contribution, const JobContext& context);

  static constexpr int64_t kMaxAttempts = 3;

 private:
  // Everything that the gates look at.
  struct Subject {
    ContributionRow row;
    manifest::ExpertManifest expert;
    manifest::AnchorManifest anchor;
    Status offer;  // of OpenOffer
    bool revoked = false;
    ContributorPolicy policy;
    bool current_anchor = false;
  };

  StatusOr<std::optional<Subject>> Load(const std::string& contribution);
  GateResult PolicyGate(const Subject& subject) const;
  job::Job ValidationJob(const Subject& subject, const JobFolder& folder,
                         const std::filesystem::path& anchor) const;
  // Puts the files of an offer into the job's input folder. False, with the
  // reason in the decision, when the disk has damaged one of them.
  StatusOr<bool> PlaceOffered(const Subject& subject, const JobFolder& folder,
                              Decision& decision) const;
  bool NeedsOperator(const Subject& subject) const;
  Status RunGates(const Subject& subject, const JobContext& context,
                  Decision& decision);
  Status Record(const std::string& contribution, Decision decision);

  const Core& core_;
  TaskRunner& runner_;
};

// Creates a release of everything accepted for the contribution's anchor and
// queues its build.
Status QueueBuildOnAccept(const Core& core, Transaction& transaction,
                          const std::string& anchor_digest);

}  // namespace tributary::coordinator

#pragma once

// Consent. Nothing reaches the client but an ApprovedUpload, and only this
// file makes one.

#include <filesystem>
#include <optional>
#include <string>

#include "common/base/clock.h"
#include "common/base/status.h"
#include "common/crypto/key.h"
#include "common/manifest/blob_name.h"
#include "contributor/cache/home.h"
#include "contributor/egress/report.h"

namespace tributary::contributor {

// An expert file and its signed manifest that somebody agreed to send.
class ApprovedUpload {
 public:
  const std::string& contribution() const { return contribution_; }
  // DSSE envelope with the expert manifest.
  const std::string& manifest_envelope_json() const { return envelope_; }
  const manifest::BlobName& blob() const { return blob_; }
  const std::filesystem::path& file() const { return file_; }
  // What goes with it, and where it lies; nothing: the expert alone.
  const std::optional<manifest::BlobName>& statistics() const {
    return statistics_;
  }
  const std::filesystem::path& statistics_file() const {
    return statistics_file_;
  }
  const std::string& approver() const { return approver_; }

 private:
  friend StatusOr<ApprovedUpload> LoadApproved(const Home& home,
                                               const std::string& contribution,
                                               const SiteRules& rules,
                                               const crypto::PublicKey& key);
  ApprovedUpload() = default;
  std::string contribution_;
  std::string envelope_;
  manifest::BlobName blob_;
  std::filesystem::path file_;
  std::optional<manifest::BlobName> statistics_;
  std::filesystem::path statistics_file_;
  std::string approver_;
};

// Writes report.json and report.txt and puts the files that would leave beside
// them (`statistics_file` where the report has statistics). An approval of
// another report is removed: what would leave has changed.
Status StoreReport(const Home& home, const EgressReport& report,
                   const std::filesystem::path& expert_file,
                   const std::filesystem::path& statistics_file = {});

// The stored report. NOT_FOUND when the pipeline has not made one yet.
StatusOr<EgressReport> LoadReport(const Home& home,
                                  const std::string& contribution);
// Its text for a person.
StatusOr<std::string> LoadReportText(const Home& home,
                                     const std::string& contribution);

struct ApproveOptions {
  // A person's name, or "policy".
  std::string approver;
  // The approver's own, where the rules name keys.
  const crypto::PrivateKey* approver_key = nullptr;
  enum class Mode { kPerson, kAutomatic } mode = Mode::kPerson;
};

// Adds an approval to those of the stored report and records it in the ledger.
// With the last one that the rules ask for, signs the manifest with `key`.
// Approving twice changes nothing. Returns how many approvals are still
// missing. PERMISSION_DENIED when the rules forbid sending it; UNAUTHENTICATED
// when the approver's key is not one of theirs; FAILED_PRECONDITION when it has
// approved under another name; DATA_LOSS when a file is no longer the one of
// the report.
StatusOr<int> ApproveReport(const Home& home, const std::string& contribution,
                            const SiteRules& rules,
                            const ApproveOptions& options,
                            const crypto::PrivateKey& key, const Clock& clock);

// FAILED_PRECONDITION, with what to do, when approvals of the stored report are
// missing; PERMISSION_DENIED when the rules have changed since and forbid
// sending it; DATA_LOSS when the file or the manifest has changed.
StatusOr<ApprovedUpload> LoadApproved(const Home& home,
                                      const std::string& contribution,
                                      const SiteRules& rules,
                                      const crypto::PublicKey& key);

// Writes into the ledger that `upload` goes to `destination` now. Once for each
// manifest, before the first byte leaves.
Status RecordUpload(const Home& home, const ApprovedUpload& upload,
                    const std::string& destination,
                    const crypto::PrivateKey& key, const Clock& clock);

}  // namespace tributary::contributor

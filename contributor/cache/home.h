#pragma once

// Where a contributor keeps what: every name on disk in one place.

#include <filesystem>
#include <string>
#include <string_view>

#include "common/base/status.h"

namespace tributary::contributor {

// The folder of one contributor's identity, cache, pipeline and records.
//
//   contributor.textproto                    configuration
//   identity/                                key (0600), certificates,
//                                            federation.json
//   cache/                                   blobs and materialised anchors
//   cache/tokens/                            token ids of private documents
//   pipeline/{contribution}/{stage}/         job.json, result.json, outputs
//   egress/{contribution}/                   report, approval, what is sent
//   ledger.jsonl                             signed history of what left
//   receipts/                                signed proofs of withdrawals
//   releases/{release}/                      native release directories
class Home {
 public:
  explicit Home(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path Config() const {
    return root_ / "contributor.textproto";
  }
  std::filesystem::path Identity() const { return root_ / "identity"; }
  std::filesystem::path Cache() const { return root_ / "cache"; }
  std::filesystem::path Tokens() const { return Cache() / "tokens"; }
  std::filesystem::path Pipeline(std::string_view contribution) const {
    return root_ / "pipeline" / contribution;
  }
  std::filesystem::path Egress(std::string_view contribution) const {
    return root_ / "egress" / contribution;
  }
  std::filesystem::path Ledger() const { return root_ / "ledger.jsonl"; }
  std::filesystem::path Receipts() const { return root_ / "receipts"; }
  std::filesystem::path Releases() const { return root_ / "releases"; }
  // Held by the one command that changes the pipeline's state.
  std::filesystem::path Lock() const { return root_ / "lock"; }
  std::filesystem::path Log() const { return root_ / "contributor.log"; }
  // Newest facts heard from the coordinator, for `status` when it is away.
  std::filesystem::path Contact() const { return root_ / "contact.json"; }

  // NOT_FOUND, with what to do, when `init` has not been run here.
  Status RequireInitialised() const;

 private:
  std::filesystem::path root_;
};

}  // namespace tributary::contributor

#include "coordinator/commands/lost_releases.h"

#include <charconv>
#include <filesystem>

#include "common/base/files.h"
#include "common/crypto/digest.h"
#include "common/manifest/resource_name.h"
#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/release_store.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxManifestBytes = 64 << 20;

}  // namespace

void AddReleasesOf(Transaction& transaction, KnownReleases& known) {
  for (const ReleaseRow& row :
       ReleaseStore(transaction).List(INT64_MAX, INT64_MAX)) {
    known[row.number] = row.digest;
  }
}

void AddReleaseFolders(const Home& home, KnownReleases& known) {
  std::error_code error;
  for (fs::directory_iterator entry(home.release(1).parent_path(), error), end;
       !error && entry != end; entry.increment(error)) {
    const std::string name = entry->path().filename().string();
    int64_t number = 0;
    const auto [rest, failed] =
        std::from_chars(name.data(), name.data() + name.size(), number);
    const auto manifest =
        ReadFile(entry->path() / "release.json", kMaxManifestBytes);
    if (failed == std::errc() && rest == name.data() + name.size() &&
        number > 0 && manifest.ok()) {
      known.emplace(number, crypto::Sha256Hex(*manifest));
    }
  }
}

std::vector<std::string> WithdrawLost(const Core& core,
                                      Transaction& transaction,
                                      const KnownReleases& known) {
  ReleaseStore releases(transaction);
  std::vector<std::string> names;
  const auto anchor = AnchorStore(transaction).Current();
  if (!anchor) {
    return names;
  }
  const std::vector<ReleaseRow> newest = releases.List(INT64_MAX, 1);
  const int64_t last = newest.empty() ? 0 : newest[0].number;
  for (const auto& [number, digest] : known) {
    if (number > last) {
      releases.AddWithdrawn({.number = number,
                             .anchor_digest = anchor->digest,
                             .digest = digest,
                             .reason = "the coordinator was restored from a "
                                       "backup that is older than it",
                             .create_time_s = core.now_s()});
      names.push_back(manifest::ReleaseName(number));
    }
  }
  return names;
}

}  // namespace tributary::coordinator

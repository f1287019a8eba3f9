#include "contributor/data/token_cache.h"

#include <algorithm>
#include <system_error>
#include <utility>
#include <vector>

#include "common/crypto/digest.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;

// Changes when ids are made in another way from the same text and tokenizer.
constexpr char kSettings[] = "special tokens in text are text; version 1";
constexpr char kExtension[] = ".tokens";

void RemoveStore(const fs::path& path) {
  std::error_code ignored;
  fs::remove(path, ignored);
  fs::remove(path.string() + "-journal", ignored);
}

}  // namespace

StatusOr<std::unique_ptr<TokenCache>> TokenCache::Open(
    TokenCacheOptions options) {
  std::unique_ptr<TokenCache> cache(new TokenCache(std::move(options)));
  const TokenCacheOptions& with = cache->options_;
  if (!with.directory.empty()) {
    RETURN_IF_ERROR(MakeDirectories(with.directory));
    std::error_code error;
    fs::permissions(with.directory, fs::perms::owner_all, error);
    if (error) {
      return ErrnoStatus(error.value(), "protect " + with.directory.string());
    }
    auto lock = FileLock::TryAcquire(with.directory / "lock");
    if (lock.ok()) {
      cache->lock_.emplace(*std::move(lock));
      cache->path_ =
          with.directory /
          (crypto::Sha256Hex(with.tokenizer_digest + "\n" + kSettings) +
           kExtension);
    } else if (!absl::IsFailedPrecondition(lock.status())) {
      return lock.status();
    }
  }
  if (!cache->lock_) {
    cache->path_ = with.scratch_path;
    RemoveStore(cache->path_);
  }
  ASSIGN_OR_RETURN(cache->store_, TokenStore::Open(cache->path_));
  return cache;
}

TokenCache::~TokenCache() {
  store_.reset();
  if (!lock_ && !path_.empty()) {
    RemoveStore(path_);
  }
}

Status TokenCache::Reset() {
  store_.reset();
  RemoveStore(path_);
  ASSIGN_OR_RETURN(store_, TokenStore::Open(path_));
  return absl::OkStatus();
}

Status TokenCache::Prune() {
  RETURN_IF_ERROR(store_->Commit());
  if (!lock_) {
    return absl::OkStatus();
  }
  struct Other {
    fs::file_time_type time;
    fs::path path;
    uint64_t bytes;
  };
  std::vector<Other> others;
  std::error_code error;
  uint64_t other_bytes = 0;
  for (const auto& entry : fs::directory_iterator(options_.directory, error)) {
    if (entry.path().extension() == kExtension && entry.path() != path_) {
      others.push_back(
          {entry.last_write_time(error), entry.path(), entry.file_size(error)});
      other_bytes += others.back().bytes;
    }
  }
  std::sort(others.begin(), others.end(),
            [](const Other& a, const Other& b) { return a.time < b.time; });
  const uint64_t own = fs::file_size(path_, error);
  for (const Other& other : others) {
    if (own + other_bytes <= options_.max_bytes) {
      break;
    }
    RemoveStore(other.path);
    other_bytes -= other.bytes;
  }
  return store_->Prune(options_.max_bytes -
                       std::min(options_.max_bytes, other_bytes));
}

}  // namespace tributary::contributor

#include "contributor/egress/ledger.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace tributary::contributor {
namespace fs = std::filesystem;

StatusOr<Ledger> Ledger::Open(const fs::path& path,
                              const crypto::PrivateKey& key) {
  ASSIGN_OR_RETURN(FileLock lock, FileLock::Acquire(path.string() + ".lock"));
  Ledger ledger(path, key, std::move(lock));
  StatusOr<std::string> content = ReadFile(path);
  if (absl::IsNotFound(content.status())) {
    return ledger;
  }
  RETURN_IF_ERROR(content.status());
  const size_t newline = content->rfind('\n');
  content->resize(newline == std::string::npos ? 0 : newline + 1);
  StatusOr<std::vector<manifest::LedgerEntry>> entries =
      manifest::VerifyLedger(*content, {key.public_key()}, ledger.chain_);
  if (!entries.ok()) {
    return Annotate(entries.status(),
                    path.string() + " was altered or belongs to another key");
  }
  ledger.entries_ = *std::move(entries);
  ledger.size_ = content->size();
  return ledger;
}

Status Ledger::Append(const std::string& actor, const std::string& action,
                      const std::string& subject,
                      const std::string& detail_json, const Clock& clock) {
  manifest::LedgerEntry entry;
  entry.time_s = static_cast<int64_t>(clock.NowSeconds());
  entry.actor = actor;
  entry.action = action;
  entry.subject = subject;
  entry.detail_json = detail_json;
  manifest::Chain next = chain_;
  ASSIGN_OR_RETURN(const std::string line,
                   manifest::AppendLedgerEntry(entry, key_, next));
  ASSIGN_OR_RETURN(const FileDescriptor file,
                   OpenFile(path_, O_WRONLY | O_CREAT, 0600));
  if (ftruncate(file.get(), static_cast<off_t>(size_)) != 0) {
    return ErrnoStatus(errno, "cut " + path_.string());
  }
  RETURN_IF_ERROR(Annotate(WriteAll(file, line + "\n", size_), path_.string()));
  if (fsync(file.get()) != 0) {
    return ErrnoStatus(errno, "fsync " + path_.string());
  }
  size_ += line.size() + 1;
  chain_ = next;
  entries_.push_back(std::move(entry));
  return SyncDirectory(path_.parent_path());
}

}  // namespace tributary::contributor

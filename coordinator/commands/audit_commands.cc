#include "coordinator/commands/audit_commands.h"

#include <memory>
#include <nlohmann/json.hpp>

#include "common/base/clock.h"
#include "common/base/text.h"
#include "common/crypto/digest.h"
#include "coordinator/blob/directory_blob_store.h"
#include "coordinator/storage/audit_log.h"
#include "coordinator/storage/blob_catalog.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/database.h"
#include "coordinator/storage/home.h"

namespace tributary::coordinator {
namespace {

// More are counted as one error all the same.
constexpr size_t kMaxNamed = 100;

// Reads every blob; DATA_LOSS names the first whose bytes are not its name's.
StatusOr<uint64_t> CheckContent(Database& database, DirectoryBlobStore& store,
                                const CancellationToken& cancellation) {
  std::vector<BlobName> names;
  RETURN_IF_ERROR(database.Transact([&](Transaction& transaction) {
    names = BlobTable(transaction).List();
    return absl::OkStatus();
  }));
  uint64_t bytes = 0;
  for (const BlobName& name : names) {
    RETURN_IF_ERROR(cancellation.Check());
    ASSIGN_OR_RETURN(const crypto::FileDigest digest,
                     crypto::DigestFile(store.PathOf(name)));
    if (digest.sha256 != name.sha256) {
      return DataLoss(
          "{}: the stored bytes are {}; restore the blob from a backup",
          name.ToString(), digest.sha256);
    }
    bytes += name.size;
  }
  return bytes;
}

Status CheckPresent(const std::vector<MissingBlob>& missing) {
  if (missing.empty()) {
    return absl::OkStatus();
  }
  std::string list;
  for (const MissingBlob& blob : missing) {
    list += fmt::format("\n  {} of {}", blob.name.ToString(),
                        blob.owners.empty() ? "nothing" : blob.owners[0]);
  }
  return DataLoss(
      "{} blobs are missing; `restore` brings back those that a backup "
      "has, their owners can withdraw and upload again:{}",
      missing.size(), list);
}

Status Verify(bool content, const cli::CommandContext& context) {
  const Home home(context.home);
  ASSIGN_OR_RETURN(const auto database,
                   Database::Open(home.database(), Database::Mode::kReadOnly));
  ASSIGN_OR_RETURN(
      const manifest::Chain chain, database->Get([](Transaction& transaction) {
        return AuditLog(transaction).Verify([](const manifest::AuditRecord&) {
        });
      }));
  ASSIGN_OR_RETURN(const auto store,
                   DirectoryBlobStore::Create(
                       {.blobs = home.blobs(), .uploads = home.uploads()}));
  ASSIGN_OR_RETURN(
      const std::vector<MissingBlob> missing,
      BlobCatalog(*database, *store, SystemClock()).FindMissing(kMaxNamed));
  RETURN_IF_ERROR(CheckPresent(missing));
  nlohmann::json value = {{"records", chain.size()},
                          {"head_hash", chain.head_hash()},
                          {"missing_blobs", 0}};
  std::string text =
      fmt::format("{} records, unbroken; head {}\nevery blob is there",
                  chain.size(), chain.head_hash());
  if (content) {
    ASSIGN_OR_RETURN(const uint64_t bytes,
                     CheckContent(*database, *store, context.cancellation));
    text +=
        ", and all " + HumanBytes(bytes) + " have the digests of their names";
    value["verified_bytes"] = bytes;
  }
  context.output.Print(text, value);
  return absl::OkStatus();
}

}  // namespace

void AddAuditCommands(cli::CommandLine& command_line) {
  CLI::App& group =
      *command_line.AddGroup("audit", "The history of every decision");
  auto content = std::make_shared<bool>(false);
  CLI::App* verify = command_line.AddCommand(
      group, "verify",
      "Follow the chain of the audit log to its end and look for every blob",
      [content](const cli::CommandContext& context) {
        return Verify(*content, context);
      });
  verify->add_flag("--content", *content, "Read and hash every blob too");
}

}  // namespace tributary::coordinator

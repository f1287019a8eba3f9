#include "coordinator/commands/audit_commands.h"

#include <memory>
#include <nlohmann/json.hpp>

#include "common/base/clock.h"
#include "common/base/text.h"
#include "common/crypto/digest.h"
#include "coordinator/blob/directory_blob_store.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/message_json.h"
#include "coordinator/storage/audit_log.h"
#include "coordinator/storage/blob_catalog.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/database.h"
#include "coordinator/storage/home.h"

namespace tributary::coordinator {
namespace {

// More are counted as one error all the same.
constexpr size_t kMaxNamed = 100;
constexpr int kPageSize = 1000;

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

Status VerifyLog(bool content, const cli::CommandContext& context) {
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

struct RecordListOptions {
  std::string subject;
  int64_t from = 0;
  int64_t limit = 0;  // 0: all
};

Status ListRecords(const RecordListOptions& options,
                   const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  v1::ListAuditRecordsRequest request;
  request.set_page_size(kPageSize);
  request.set_first_position(options.from);
  request.set_subject(options.subject);
  std::vector<std::vector<std::string>> rows = {
      {"POSITION", "TIME", "ACTOR", "ACTION", "SUBJECT", "DETAIL"}};
  nlohmann::json values = nlohmann::json::array();
  const auto full = [&] {
    return options.limit > 0 &&
           static_cast<int64_t>(values.size()) >= options.limit;
  };
  do {
    RETURN_IF_ERROR(context.cancellation.Check());
    ASSIGN_OR_RETURN(
        const v1::ListAuditRecordsResponse page,
        client->Call(client->audit(), &v1::AuditService::Stub::ListAuditRecords,
                     request));
    for (const v1::AuditRecord& record : page.records()) {
      if (full()) {
        break;
      }
      rows.push_back({std::to_string(record.position()),
                      FormatTime(static_cast<double>(record.time_s())),
                      record.actor(), record.action(), record.subject(),
                      record.detail_json()});
      values.push_back(MessageJson(record));
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty() && !full());
  context.output.Print(cli::FormatTable(rows), {{"records", values}});
  return absl::OkStatus();
}

void AddListCommand(cli::CommandLine& command_line, CLI::App& group) {
  auto options = std::make_shared<RecordListOptions>();
  CLI::App* list =
      command_line.AddCommand(group, "list", "The records, oldest first",
                              [options](const cli::CommandContext& context) {
                                return ListRecords(*options, context);
                              });
  list->add_option("--subject", options->subject,
                   "Only records about this resource, such as contributions/a");
  list->add_option("--from", options->from, "Position to begin at")
      ->check(CLI::NonNegativeNumber);
  list->add_option("--limit", options->limit, "At most this many")
      ->check(CLI::PositiveNumber);
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
        return VerifyLog(*content, context);
      });
  verify->add_flag("--content", *content, "Read and hash every blob too");
  AddListCommand(command_line, group);
}

}  // namespace tributary::coordinator

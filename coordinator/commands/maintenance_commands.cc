#include "coordinator/commands/maintenance_commands.h"

#include <memory>
#include <string>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/base/text.h"
#include "coordinator/blob/directory_blob_store.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/backup.h"
#include "coordinator/commands/config_file.h"
#include "coordinator/storage/blob_catalog.h"

namespace tributary::coordinator {
namespace {

Status Backup(const std::string& target, const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const BackupReport report,
                   BackUpHome(Home(context.home), target));
  context.output.Print(
      fmt::format(
          "{}: {} blobs, {}{}\nIt holds the federation's private keys: "
          "guard it like the home itself. To restore, use it as --home.",
          target, report.blobs, HumanBytes(report.bytes),
          report.gone > 0 ? fmt::format(", {} purged meanwhile", report.gone)
                          : ""),
      {{"target", target},
       {"blobs", report.blobs},
       {"bytes", report.bytes},
       {"gone", report.gone}});
  return absl::OkStatus();
}

// Without a server, under the home's lock.
StatusOr<CollectionReport> CollectHere(const Home& home) {
  ASSIGN_OR_RETURN(const std::unique_ptr<Database> database,
                   Database::Open(home.database(), Database::Mode::kExisting));
  ASSIGN_OR_RETURN(const auto store,
                   DirectoryBlobStore::Create(
                       {.blobs = home.blobs(), .uploads = home.uploads()}));
  return BlobCatalog(*database, *store, SystemClock()).Collect();
}

StatusOr<CollectionReport> CollectOnServer(const Home& home) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(home.root()));
  ASSIGN_OR_RETURN(
      const v1::CollectGarbageResponse answer,
      client->Call(client->admin(), &v1::AdminService::Stub::CollectGarbage,
                   v1::CollectGarbageRequest()));
  return CollectionReport{.deleted_blobs = answer.deleted_blobs(),
                          .deleted_bytes = answer.deleted_bytes(),
                          .deleted_uploads = answer.deleted_uploads()};
}

Status Collect(const cli::CommandContext& context) {
  const Home home(context.home);
  RETURN_IF_ERROR(LoadSettings(home).status());
  const StatusOr<FileLock> lock = FileLock::TryAcquire(home.lock());
  ASSIGN_OR_RETURN(const CollectionReport report,
                   lock.ok() ? CollectHere(home) : CollectOnServer(home));
  context.output.Print(
      fmt::format("deleted {} blobs ({}) and {} partial uploads",
                  report.deleted_blobs,
                  HumanBytes(static_cast<uint64_t>(report.deleted_bytes)),
                  report.deleted_uploads),
      {{"deleted_blobs", report.deleted_blobs},
       {"deleted_bytes", report.deleted_bytes},
       {"deleted_uploads", report.deleted_uploads}});
  return absl::OkStatus();
}

}  // namespace

void AddMaintenanceCommands(cli::CommandLine& command_line) {
  auto target = std::make_shared<std::string>();
  CLI::App* backup =
      command_line.AddCommand(command_line.app(), "backup",
                              "Copy the whole home, verified; a server may run",
                              [target](const cli::CommandContext& context) {
                                return Backup(*target, context);
                              });
  backup->add_option("--output", *target, "New folder")->required();
  command_line.AddCommand(
      command_line.app(), "gc",
      "Delete expired uploads and bytes that nothing refers to", Collect);
}

}  // namespace tributary::coordinator

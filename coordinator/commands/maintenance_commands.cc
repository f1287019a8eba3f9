#include "coordinator/commands/maintenance_commands.h"

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "coordinator/blob/directory_blob_store.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/backup.h"
#include "coordinator/commands/config_file.h"
#include "coordinator/commands/restore.h"
#include "coordinator/storage/blob_catalog.h"

namespace tributary::coordinator {
namespace {

Status Backup(const std::string& target, const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const BackupReport report,
                   BackUpHome(Home(context.home), target));
  context.output.Print(
      fmt::format("{}: {} blobs, {}{}\nIt holds the federation's private keys: "
                  "guard it like the home itself. `restore {}` brings it back.",
                  target, report.blobs, HumanBytes(report.bytes),
                  report.gone > 0
                      ? fmt::format(", {} purged meanwhile", report.gone)
                      : "",
                  target),
      {{"target", target},
       {"blobs", report.blobs},
       {"bytes", report.bytes},
       {"gone", report.gone}});
  return absl::OkStatus();
}

nlohmann::json ToJson(const std::vector<MissingBlob>& missing) {
  nlohmann::json list = nlohmann::json::array();
  for (const MissingBlob& blob : missing) {
    list.push_back({{"blob", blob.name.ToString()}, {"owners", blob.owners}});
  }
  return list;
}

Status Restore(const RestoreOptions& options,
               const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const RestoreReport report,
                   RestoreHome(Home(context.home), options, SystemClock()));
  std::string text =
      fmt::format("{} is restored: {} blobs copied, {}", context.home.string(),
                  report.copied_blobs, HumanBytes(report.copied_bytes));
  if (!report.replaced.empty()) {
    text += "\nthe database that was there is " + report.replaced.string();
  }
  if (!report.replaced_damage.ok()) {
    text += "\nit could not be read (" +
            std::string(report.replaced_damage.message()) +
            "): what was withdrawn after the backup was made may be back; ask "
            "owners for their receipts and run `withdrawal create`; who was "
            "revoked after it may be back, too";
  }
  for (const std::string& id : report.withdrawn_again) {
    text += "\nwithdrawn again: contributions/" + id;
  }
  for (const std::string& name : report.revoked_again) {
    text += "\nrevoked again: " + name;
  }
  for (const std::string& name : report.lost_releases) {
    text += "\nwithdrawn, since the backup is older than it: " + name;
  }
  for (const MissingBlob& blob : report.missing) {
    text += "\nmissing: " + blob.name.ToString() + " of " +
            (blob.owners.empty() ? "nothing" : blob.owners[0]);
  }
  context.output.Print(text,
                       {{"replaced", report.replaced.string()},
                        {"replaced_readable", report.replaced_damage.ok()},
                        {"withdrawn_again", report.withdrawn_again},
                        {"revoked_again", report.revoked_again},
                        {"lost_releases", report.lost_releases},
                        {"copied_blobs", report.copied_blobs},
                        {"copied_bytes", report.copied_bytes},
                        {"missing", ToJson(report.missing)}});
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
  v1::CollectGarbageRequest request;
  request.set_request_id(RandomUuid());
  ASSIGN_OR_RETURN(
      const v1::CollectGarbageResponse answer,
      client->Call(client->admin(), &v1::AdminService::Stub::CollectGarbage,
                   request));
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
  auto options = std::make_shared<RestoreOptions>();
  auto replace = std::make_shared<bool>(false);
  CLI::App* restore = command_line.AddCommand(
      command_line.app(), "restore",
      "Make the home what a backup was; no server may run",
      [options, replace](const cli::CommandContext& context) {
        options->present = *replace ? RestoreOptions::Present::kReplace
                                    : RestoreOptions::Present::kRefuse;
        return Restore(*options, context);
      });
  restore
      ->add_option("backup", options->backup,
                   "Folder that `backup` made, or a database")
      ->required();
  restore->add_flag("--replace", *replace, "Put the home's own database aside");
  command_line.AddCommand(
      command_line.app(), "gc",
      "Delete expired uploads and bytes that nothing refers to", Collect);
}

}  // namespace tributary::coordinator

#include "coordinator/release/release_builder.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "common/base/files.h"
#include "common/base/log.h"
#include "common/crypto/digest.h"
#include "common/manifest/resource_name.h"
#include "coordinator/admission/job_folder.h"
#include "coordinator/admission/offered_blobs.h"
#include "coordinator/admission/stored_bytes.h"
#include "coordinator/merge/merge.h"
#include "coordinator/merge/release_directory.h"
#include "coordinator/release/router_modes.h"
#include "coordinator/storage/anchor_store.h"
#include "coordinator/storage/blob_table.h"
#include "coordinator/storage/contribution_store.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using manifest::ReleaseName;

constexpr char kPublicLabel[] = "public";

}  // namespace

std::optional<std::string> RefuseRelease(
    const std::vector<EvaluationRow>& evaluations, double max_increase) {
  const EvaluationRow* anchor = nullptr;
  const EvaluationRow* release = nullptr;
  for (const EvaluationRow& row : evaluations) {
    if (!std::isfinite(row.log_loss)) {
      return fmt::format("the log-loss of {} on {} text is not finite",
                         row.model, row.text_label);
    }
    anchor = row.model == "anchor" ? &row : anchor;
    release = row.model == "release" ? &row : release;
  }
  if (anchor == nullptr || release == nullptr) {
    return "the worker did not evaluate anchor and release";
  }
  const double increase = release->log_loss - anchor->log_loss;
  if (increase > max_increase) {
    return fmt::format(
        "public log-loss rises by {:.4f} nats per token (anchor {:.4f}, "
        "release {:.4f}), the policy allows {:.4f}",
        increase, anchor->log_loss, release->log_loss, max_increase);
  }
  return std::nullopt;
}

Status DropReleaseFiles(const Core& core, int64_t number) {
  RETURN_IF_ERROR(RemovePlaced(core.home.release(number)));
  std::vector<BlobName> blobs;
  RETURN_IF_ERROR(core.database.Transact([&](Transaction& transaction) {
    BlobTable table(transaction);
    blobs = table.BlobsOf(ReleaseName(number));
    table.RemoveOwner(ReleaseName(number));
    return absl::OkStatus();
  }));
  return core.catalog.DeleteUnreferenced(blobs).status();
}

StatusOr<std::optional<ReleaseBuilder::Input>> ReleaseBuilder::Load(
    int64_t number) {
  std::optional<Input> input;
  std::string anchor_json;
  RETURN_IF_ERROR(core_.database.Transact([&](Transaction& transaction) {
    ReleaseStore releases(transaction);
    const auto row = releases.Find(number);
    if (!row || row->state != ReleaseState::kBuilding) {
      return absl::OkStatus();
    }
    input.emplace();
    input->row = *row;
    input->contributions = releases.ContributionsOf(number);
    const auto anchor =
        AnchorStore(transaction).FindByDigest(row->anchor_digest);
    if (!anchor) {
      return DataLoss("{}: its anchor is gone", ReleaseName(number));
    }
    anchor_json = anchor->manifest_json;
    for (const std::string& id : input->contributions) {
      const auto contribution = ContributionStore(transaction).Find(id);
      if (!contribution ||
          contribution->state != ContributionState::kAccepted) {
        input->refused = "contributions/" + id + " is no longer accepted";
        return absl::OkStatus();
      }
      input->envelopes[id] = contribution->envelope_json;
      input->manifests[id] = {contribution->manifest_json,
                              contribution->manifest_digest};
      ASSIGN_OR_RETURN(input->blobs[id], BlobName::Parse(contribution->blob));
      ASSIGN_OR_RETURN(const auto statistics, StatisticsOf(*contribution));
      if (statistics) {
        input->statistics[id] = *statistics;
      } else if (row->router_mode == kRidgeMode) {
        input->refused = "contributions/" + id +
                         " came without router statistics, which a ridge "
                         "router needs of all";
        return absl::OkStatus();
      }
    }
    return absl::OkStatus();
  }));
  if (input) {
    ASSIGN_OR_RETURN(input->anchor,
                     manifest::AnchorManifest::FromJson(anchor_json));
  }
  return input;
}

StatusOr<manifest::ReleaseManifest> ReleaseBuilder::MergeExperts(
    const Input& input, const JobContext& context) {
  ASSIGN_OR_RETURN(const JobFolder folder,
                   JobFolder::Create(core_.home, context.id + "-merge"));
  MergePlan plan;
  ASSIGN_OR_RETURN(plan.anchor,
                   MergeAnchorOf(input.anchor, input.row.router_mode));
  for (const std::string& id : input.contributions) {
    const fs::path file = folder.input() / (id + ".safetensors");
    RETURN_IF_ERROR(
        core_.catalog.store().Materialise(input.blobs.at(id), file));
    // Nobody could fetch a release of damaged bytes.
    RETURN_IF_ERROR(Annotate(CheckStoredBytes(core_, input.blobs.at(id)),
                             "contributions/" + id));
    // Its signature was verified when it was offered and admitted.
    const auto& [json, digest] = input.manifests.at(id);
    ASSIGN_OR_RETURN(MergeExpert expert, MergeExpertOfJson(json, digest, file));
    plan.experts.push_back(std::move(expert));
  }
  const fs::path router = folder.output() / "router.safetensors";
  ASSIGN_OR_RETURN(manifest::ReleaseManifest release,
                   Merge(std::move(plan), router));
  if (MakesRouter(input.row.router_mode)) {
    RETURN_IF_ERROR(MakeRouter(input, folder, context, router, release));
  }

  const BlobCatalog::CommitGuard guard = core_.catalog.GuardCommit();
  ASSIGN_OR_RETURN(const BlobName name, core_.catalog.store().Import(router));
  if (name != release.router_blob) {
    return DataLoss("the router file changed while it was stored");
  }
  RETURN_IF_ERROR(core_.database.Transact([&](Transaction& transaction) {
    BlobTable(transaction)
        .Add(name, ReleaseName(input.row.number), core_.now_s());
    return absl::OkStatus();
  }));
  return release;
}

Status ReleaseBuilder::MakeRouter(const Input& input, const JobFolder& folder,
                                  const JobContext& context,
                                  const fs::path& router,
                                  manifest::ReleaseManifest& release) {
  const std::string& mode = input.row.router_mode;
  RouterMaterial material = {.contributions = input.contributions,
                             .num_layers = input.anchor.model.num_layers,
                             .hidden_size = input.anchor.model.hidden_size,
                             .top_k = release.routing.top_k,
                             .output = folder.output() / mode};
  ASSIGN_OR_RETURN(material.anchor,
                   EnsureAnchorFolder(core_, input.row.anchor_digest));
  RETURN_IF_ERROR(MakeDirectories(material.output));
  for (const std::string& id : input.contributions) {
    material.experts.push_back(folder.input() / (id + ".safetensors"));
    if (mode == kRidgeMode) {
      const BlobName& blob = input.statistics.at(id);
      const fs::path file = folder.input() / (id + ".statistics.safetensors");
      RETURN_IF_ERROR(core_.catalog.store().Materialise(blob, file));
      RETURN_IF_ERROR(
          Annotate(CheckStoredBytes(core_, blob), "contributions/" + id));
      material.statistics.push_back(file);
    }
  }
  RETURN_IF_ERROR(
      SingleResult(runner_.Run(RouterJob(mode, material, core_.settings.routing,
                                         context.id + "-" + mode),
                               nullptr, context.cancellation))
          .status());
  const fs::path made = material.output / router.filename();
  RETURN_IF_ERROR(CheckRouterFile(
      made, static_cast<int64_t>(input.contributions.size()) + 1,
      material.num_layers, material.hidden_size));
  ASSIGN_OR_RETURN(const crypto::FileDigest digest, crypto::DigestFile(made));
  release.router_blob = {digest.sha256, digest.size};
  release.routing.settings = RouterSettingsOf(mode, core_.settings.routing);
  std::error_code error;
  fs::rename(made, router, error);
  return error ? ErrnoStatus(error.value(), "rename to " + router.string())
               : absl::OkStatus();
}

StatusOr<std::vector<EvaluationRow>> ReleaseBuilder::Evaluate(
    const Input& input, const JobContext& context) {
  ASSIGN_OR_RETURN(const JobFolder folder,
                   JobFolder::Create(core_.home, context.id));
  ASSIGN_OR_RETURN(const fs::path anchor,
                   EnsureAnchorFolder(core_, input.row.anchor_digest));
  const fs::path release = core_.home.release(input.row.number);
  job::Job job;
  job.set_id(context.id);
  job.set_output_directory(folder.output().string());
  job.add_read_paths(anchor.string());
  job.add_read_paths(release.string());
  job::EvaluateRelease& task = *job.add_tasks()->mutable_evaluate_release();
  task.set_anchor_directory(anchor.string());
  task.mutable_release()->set_directory(release.string());
  task.set_public_tokens_path((anchor / "public/tokens.safetensors").string());
  ASSIGN_OR_RETURN(
      const job::TaskResult result,
      SingleResult(runner_.Run(std::move(job), nullptr, context.cancellation)));
  std::vector<EvaluationRow> rows;
  for (const job::ModelLoss& loss : result.evaluate_release().losses()) {
    rows.push_back({.evaluator = kCoordinatorActor,
                    .text_label = kPublicLabel,
                    .model = loss.label(),
                    .log_loss = loss.log_loss(),
                    .tokens = loss.tokens()});
  }
  return rows;
}

Status ReleaseBuilder::Publish(const Input& input,
                               const manifest::ReleaseManifest& release,
                               const std::vector<EvaluationRow>& evaluations) {
  const int64_t number = input.row.number;
  ReleaseRow row = input.row;
  ASSIGN_OR_RETURN(row.manifest_json, release.ToJson());
  ASSIGN_OR_RETURN(row.digest, release.Digest());
  row.create_time_s = core_.now_s();
  manifest::ReleaseStatement statement{.release = ReleaseName(number),
                                       .manifest_digest = row.digest,
                                       .create_time_s = row.create_time_s};
  for (const EvaluationRow& evaluation : evaluations) {
    statement.evaluation.push_back({.text_label = evaluation.text_label,
                                    .model = evaluation.model,
                                    .log_loss = evaluation.log_loss,
                                    .tokens = evaluation.tokens});
  }
  // Builds run one at a time, so the predecessor can only be withdrawn
  // meanwhile; the statement then names it all the same, as history.
  RETURN_IF_ERROR(core_.database.Transact([&](Transaction& transaction) {
    if (const auto latest = ReleaseStore(transaction).Latest()) {
      statement.previous_release = ReleaseName(latest->number);
    }
    return absl::OkStatus();
  }));
  ASSIGN_OR_RETURN(row.envelope_json,
                   manifest::SignRelease(statement, core_.signer));
  RETURN_IF_ERROR(
      WriteFileAtomic(ReleaseDirectory(core_.home.release(number)).envelope(),
                      row.envelope_json));
  return core_.database.Transact([&](Transaction& transaction) -> Status {
    ReleaseStore releases(transaction);
    const auto current = releases.Find(number);
    if (!current || current->state != ReleaseState::kBuilding) {
      return absl::OkStatus();
    }
    releases.Publish(row);
    releases.PutEvaluations(number, kCoordinatorActor, evaluations);
    return core_.Audit(transaction,
                       {.actor = kCoordinatorActor,
                        .action = "release.publish",
                        .subject = ReleaseName(number)},
                       {{"digest", row.digest},
                        {"anchor", row.anchor_digest},
                        {"experts", input.contributions}});
  });
}

Status ReleaseBuilder::Fail(int64_t number, const std::string& reason) {
  log::Warning("{}: not published: {}", ReleaseName(number), reason);
  RETURN_IF_ERROR(
      core_.database.Transact([&](Transaction& transaction) -> Status {
        ReleaseStore releases(transaction);
        const auto row = releases.Find(number);
        if (!row || row->state != ReleaseState::kBuilding) {
          return absl::OkStatus();
        }
        releases.SetState(number, ReleaseState::kFailed, reason);
        return core_.Audit(transaction,
                           {.actor = kCoordinatorActor,
                            .action = "release.fail",
                            .subject = ReleaseName(number)},
                           {{"reason", reason}});
      }));
  return DropReleaseFiles(core_, number);
}

Status ReleaseBuilder::CleanUp(int64_t number) {
  bool served = false;
  RETURN_IF_ERROR(core_.database.Transact([&](Transaction& transaction) {
    const auto row = ReleaseStore(transaction).Find(number);
    served = row && row->served();
    return absl::OkStatus();
  }));
  return served ? absl::OkStatus() : DropReleaseFiles(core_, number);
}

Status ReleaseBuilder::Build(int64_t number, const JobContext& context) {
  ASSIGN_OR_RETURN(const std::optional<Input> input, Load(number));
  if (!input) {
    return CleanUp(number);
  }
  if (!input->refused.empty()) {
    return Fail(number, input->refused);
  }
  const StatusOr<manifest::ReleaseManifest> merged =
      MergeExperts(*input, context);
  if (absl::IsDataLoss(merged.status())) {
    return Fail(number, std::string(merged.status().message()) +
                            "; restore the file from a backup and build again");
  }
  // What these experts and settings give does not change by trying again.
  if (absl::IsInvalidArgument(merged.status()) ||
      absl::IsFailedPrecondition(merged.status())) {
    return Fail(number, std::string(merged.status().message()));
  }
  RETURN_IF_ERROR(merged.status());
  const manifest::ReleaseManifest& release = *merged;
  RETURN_IF_ERROR(PlaceRelease(
      {.anchor = input->anchor,
       .release = release,
       .expert_envelopes = input->envelopes},
      [&](const BlobName& blob, const fs::path& target) {
        return core_.catalog.store().Materialise(blob, target);
      },
      core_.home.release(number)));
  ASSIGN_OR_RETURN(const std::vector<EvaluationRow> evaluations,
                   Evaluate(*input, context));
  if (const auto refused = RefuseRelease(
          evaluations, core_.settings.releases.max_public_loss_increase)) {
    return Fail(number, *refused);
  }
  RETURN_IF_ERROR(Publish(*input, release, evaluations));
  // Withdrawn meanwhile: leave nothing behind.
  RETURN_IF_ERROR(CleanUp(number));
  log::Info("{}: built with {} experts, digest {}", ReleaseName(number),
            input->contributions.size(), release.Digest().value_or("?"));
  return absl::OkStatus();
}

}  // namespace tributary::coordinator

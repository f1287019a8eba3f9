#include "coordinator/release/anchor_import.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/base/log.h"
#include "common/base/random.h"
#include "common/crypto/digest.h"
#include "common/manifest/canonical_json.h"
#include "common/manifest/resource_name.h"
#include "common/model_format/expert_layout.h"
#include "common/model_format/hf_directory.h"
#include "common/model_format/model_config.h"
#include "coordinator/admission/job_folder.h"
#include "coordinator/storage/blob_table.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;
using manifest::AnchorManifest;
using manifest::Collection;
using manifest::ResourceName;

// Files beside the model itself that make the directory usable.
constexpr const char* kCompanions[] = {
    "tokenizer_config.json", "special_tokens_map.json",
    "generation_config.json", "chat_template.jinja", "LICENSE"};

// What is imported: paths inside the anchor and where the files lie.
using FileMap = std::map<std::string, fs::path>;

StatusOr<FileMap> ModelFiles(const model_format::HfDirectory& model) {
  FileMap files;
  for (const fs::path& name : model.ModelFiles()) {
    files[name.string()] = model.path() / name;
  }
  for (const char* name : kCompanions) {
    std::error_code error;
    if (fs::is_regular_file(model.path() / name, error)) {
      files[name] = model.path() / name;
    }
  }
  return files;
}

StatusOr<AnchorManifest> Describe(const Core& core, const AnchorSource& source,
                                  const model_format::ModelConfig& config) {
  if (config.is_moe()) {
    return InvalidArgument(
        "{}: a mixture of type {}; an anchor must be dense: take it apart with "
        "`release import-model` and publish its anchor folder",
        source.model_directory.string(),
        model_format::ModelTypeName(config.type));
  }
  AnchorManifest anchor;
  anchor.name = source.id;
  anchor.model.model_type = std::string(ModelTypeName(config.type));
  anchor.model.num_layers = config.num_layers;
  anchor.model.hidden_size = config.hidden_size;
  anchor.model.intermediate_size = config.intermediate_size;
  anchor.model.vocab_size = config.vocab_size;
  ASSIGN_OR_RETURN(anchor.model.block,
                   model_format::WidthBlock(config.intermediate_size));
  const ExpertSettings& experts = core.settings.experts;
  if (experts.first_layer >= config.num_layers) {
    return InvalidArgument(
        "experts.first_layer is {}, the model has {} layers; change "
        "coordinator.textproto",
        experts.first_layer, config.num_layers);
  }
  AnchorManifest::ExpertPolicy& policy = anchor.expert_policy;
  policy.first_layer = experts.first_layer;
  policy.max_width = experts.max_width > 0
                         ? std::min(experts.max_width, config.intermediate_size)
                         : config.intermediate_size;
  policy.top_k = experts.top_k;
  policy.renormalise = model_format::MergedNormTopkProb(config);
  policy.window_tokens = experts.window_tokens;
  policy.windows_per_class = experts.windows_per_class;
  policy.heldout_windows = experts.heldout_windows;
  policy.sample_stride = experts.sample_stride;
  return anchor;
}

// Identifies an import by everything that goes into it.
StatusOr<std::string> ImportDigest(const AnchorManifest& described,
                                   const FileMap& files,
                                   const CancellationToken& cancellation) {
  Json json = {{"model_type", described.model.model_type},
               {"first_layer", described.expert_policy.first_layer},
               {"max_width", described.expert_policy.max_width},
               {"top_k", described.expert_policy.top_k},
               {"window_tokens", described.expert_policy.window_tokens},
               {"windows_per_class", described.expert_policy.windows_per_class},
               {"heldout_windows", described.expert_policy.heldout_windows},
               {"sample_stride", described.expert_policy.sample_stride}};
  for (const auto& [path, file] : files) {
    ASSIGN_OR_RETURN(const crypto::FileDigest digest,
                     crypto::DigestFile(file, &cancellation));
    json["files"][path] = digest.sha256;
  }
  ASSIGN_OR_RETURN(const std::string bytes, manifest::CanonicalJson(json));
  return crypto::Sha256Hex(bytes);
}

StatusOr<std::optional<AnchorRow>> FindPublished(
    const Core& core, const std::string& id, const std::string& import_digest) {
  std::optional<AnchorRow> row;
  RETURN_IF_ERROR(core.database.Transact([&](Transaction& transaction) {
    row = AnchorStore(transaction).Find(id);
    return absl::OkStatus();
  }));
  if (row && row->import_digest != import_digest) {
    return AlreadyExists(
        "anchors/{} is published with other files or settings (digest {}); "
        "anchors never change, choose another name",
        id, row->digest);
  }
  return row;
}

Status MakeStatistics(const Core& core, TaskRunner& runner,
                      const AnchorSource& source, const JobFolder& folder,
                      FileMap& files, const ProgressFunction& progress,
                      const CancellationToken& cancellation) {
  job::Job job;
  job.set_id(folder.root().filename().string());
  job.set_output_directory(folder.output().string());
  job.add_read_paths(fs::canonical(source.model_directory).string());
  job.add_read_paths(folder.input().string());
  job::AnchorStatistics& task = *job.add_tasks()->mutable_anchor_statistics();
  task.set_model_directory(fs::canonical(source.model_directory).string());
  for (const PublicTextSource& text : source.public_texts) {
    job::TextClass& text_class = *task.add_classes();
    text_class.set_name(text.text_class);
    text_class.add_paths(
        files.at("public/text/" + text.text_class + ".jsonl").string());
  }
  const ExpertSettings& experts = core.settings.experts;
  task.set_window_tokens(static_cast<int>(experts.window_tokens));
  task.set_windows_per_class(static_cast<int>(experts.windows_per_class));
  task.set_heldout_windows(static_cast<int>(experts.heldout_windows));
  task.set_sample_stride(static_cast<int>(experts.sample_stride));
  task.set_first_layer(static_cast<int>(experts.first_layer));
  ASSIGN_OR_RETURN(const job::TaskResult result,
                   SingleResult(runner.Run(
                       std::move(job),
                       [&](double fraction, const std::string& message) {
                         progress(0.2 + 0.6 * fraction, message);
                       },
                       cancellation)));
  files["public/tokens.safetensors"] = result.anchor_statistics().tokens_path();
  files["public/statistics.safetensors"] =
      result.anchor_statistics().statistics_path();
  return absl::OkStatus();
}

// Stores all files, signs and records the anchor.
StatusOr<AnchorRow> Store(const Core& core, AnchorManifest anchor,
                          const FileMap& files,
                          const std::string& import_digest) {
  const BlobCatalog::CommitGuard guard = core.catalog.GuardCommit();
  for (const auto& [path, file] : files) {
    ASSIGN_OR_RETURN(BlobName blob, core.catalog.store().Import(file));
    anchor.files.push_back({.path = path, .blob = std::move(blob)});
  }
  AnchorRow row{.id = anchor.name, .import_digest = import_digest};
  ASSIGN_OR_RETURN(row.manifest_json, anchor.ToJson());
  ASSIGN_OR_RETURN(row.digest, anchor.Digest());
  ASSIGN_OR_RETURN(row.envelope_json,
                   manifest::SignAnchorManifest(anchor, core.signer));
  row.create_time_s = core.now_s();
  const std::string name = ResourceName(Collection::kAnchors, row.id);
  RETURN_IF_ERROR(
      core.database.Transact([&](Transaction& transaction) -> Status {
        for (const AnchorManifest::File& file : anchor.files) {
          BlobTable(transaction).Add(file.blob, name, core.now_s());
        }
        AnchorStore(transaction).Add(row);
        return core.Audit(transaction,
                          {.actor = kCoordinatorActor,
                           .action = "anchor.publish",
                           .subject = name},
                          {{"digest", row.digest}});
      }));
  return row;
}

}  // namespace

StatusOr<AnchorRow> ImportAnchor(const Core& core, TaskRunner& runner,
                                 const AnchorSource& source,
                                 const ProgressFunction& progress,
                                 const CancellationToken& cancellation) {
  RETURN_IF_ERROR(manifest::CheckId("anchor_id", source.id));
  RETURN_IF_ERROR(CheckTextClasses(source.public_texts));
  progress(0, "checking the model");
  ASSIGN_OR_RETURN(const auto model,
                   model_format::HfDirectory::Open(source.model_directory));
  if (model->tokenizer_path().empty()) {
    return NotFound("{}: tokenizer.json is missing",
                    source.model_directory.string());
  }
  ASSIGN_OR_RETURN(AnchorManifest anchor,
                   Describe(core, source, model->config()));
  ASSIGN_OR_RETURN(FileMap files, ModelFiles(*model));
  ASSIGN_OR_RETURN(const JobFolder folder,
                   JobFolder::Create(core.home, "anchor-" + RandomUuid()));
  for (const PublicTextSource& text : source.public_texts) {
    const std::string path = "public/text/" + text.text_class + ".jsonl";
    const fs::path target = folder.input() / (text.text_class + ".jsonl");
    ASSIGN_OR_RETURN(const int64_t documents,
                     CollectPublicText(text.path, target));
    progress(0.1, fmt::format("{}: {} documents", text.text_class, documents));
    files[path] = target;
    anchor.public_text.push_back({.text_class = text.text_class, .path = path});
  }
  ASSIGN_OR_RETURN(const std::string import_digest,
                   ImportDigest(anchor, files, cancellation));
  ASSIGN_OR_RETURN(const std::optional<AnchorRow> published,
                   FindPublished(core, source.id, import_digest));
  if (published) {
    progress(1, "published before, nothing changed");
    return *published;
  }
  progress(0.2, "tokens and statistics of public text");
  RETURN_IF_ERROR(MakeStatistics(core, runner, source, folder, files, progress,
                                 cancellation));
  progress(0.8, "storing files");
  ASSIGN_OR_RETURN(const AnchorRow row,
                   Store(core, std::move(anchor), files, import_digest));
  RETURN_IF_ERROR(EnsureAnchorFolder(core, row.digest).status());
  progress(1, "published");
  log::Info("anchors/{}: published, digest {}", row.id, row.digest);
  return row;
}

}  // namespace tributary::coordinator

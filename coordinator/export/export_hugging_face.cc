#include "coordinator/export/export_hugging_face.h"

#include <utility>

#include "common/base/files.h"
#include "common/model/errors.h"
#include "common/model/load_release.h"
#include "coordinator/export/mixture_tensors.h"
#include "coordinator/export/pending_output.h"
#include "coordinator/export/reference_logits.h"
#include "coordinator/export/tokenizer_files.h"
#include "coordinator/export/weight_files.h"

namespace tributary::coordinator {
namespace {

StatusOr<ExportResult> RunHuggingFace(const ExportOptions& options) {
  const auto report = [&](double fraction, const char* message) {
    if (options.on_progress) {
      options.on_progress(fraction, message);
    }
  };
  // Progress of one stage, from `begin` to `end` of the whole.
  const auto stage = [&](double begin, double end, const char* message) {
    return WeightFileOptions{.cancellation = options.load.cancellation,
                             .on_progress = [=, &report](double fraction) {
                               report(begin + (end - begin) * fraction,
                                      message);
                             }};
  };
  report(0.0, "running the release");
  ASSIGN_OR_RETURN(Reference reference,
                   MakeReference(options.release_directory,
                                 options.public_statistics_path, options.load));
  ASSIGN_OR_RETURN(const auto tensors,
                   MixtureTensors::Open(options.release_directory,
                                        std::move(reference.rows)));
  ASSIGN_OR_RETURN(const std::string config, tensors->ConfigJson());
  ASSIGN_OR_RETURN(const std::vector<WeightFile> files,
                   PlanWeightFiles(tensors->specs(), options.shard_bytes > 0
                                                         ? options.shard_bytes
                                                         : kDefaultShardBytes));
  ASSIGN_OR_RETURN(PendingOutput folder,
                   PendingOutput::CreateFolder(options.output));
  RETURN_IF_ERROR(WriteWeightFiles(*tensors, files, folder.path(),
                                   stage(0.1, 0.5, "writing")));
  RETURN_IF_ERROR(WriteFileAtomic(folder.path() / "config.json", config));
  if (!options.readme.empty()) {
    RETURN_IF_ERROR(
        WriteFileAtomic(folder.path() / "README.md", options.readme));
  }
  RETURN_IF_ERROR(CopyTokenizerFiles(
      model::ModelFilesDirectory(options.release_directory), folder.path()));
  RETURN_IF_ERROR(CompareWeightFiles(*tensors, files, folder.path(),
                                     stage(0.5, 0.8, "comparing tensors")));
  report(0.8, "comparing logits");
  ASSIGN_OR_RETURN(const model::CausalLm written,
                   model::LoadModel(folder.path(), options.load));
  ExportResult result{.experts = tensors->num_experts(),
                      .padded_width = tensors->padded_width(),
                      .max_fold_difference = reference.max_fold_difference,
                      .compared_tokens = reference.ids_BS.numel(),
                      .weight_files = static_cast<int64_t>(files.size())};
  ASSIGN_OR_RETURN(result.max_logit_difference,
                   CompareLogits(written, reference));
  for (const WeightFile& file : files) {
    result.weight_bytes += file.bytes;
  }
  RETURN_IF_ERROR(folder.Publish());
  return result;
}

}  // namespace

StatusOr<ExportResult> ExportHuggingFace(const ExportOptions& options) {
  return model::CatchTorch([&] { return RunHuggingFace(options); });
}

}  // namespace tributary::coordinator

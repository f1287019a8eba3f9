#include "contributor/commands/explicit_job.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "common/base/files.h"
#include "common/cli/progress.h"
#include "common/model_format/model_config.h"
#include "common/model_format/parameter_names.h"
#include "common/safetensors/writer.h"
#include "contributor/pipeline/fingerprint.h"
#include "contributor/pipeline/plan.h"
#include "contributor/pipeline/worker_runner.h"

namespace tributary::contributor {
namespace fs = std::filesystem;
namespace {

constexpr char kZeroRouterFile[] = "zero_router.safetensors";

StatusOr<fs::path> AbsoluteExisting(const std::string& path,
                                    const std::string& option) {
  std::error_code error;
  const fs::path absolute = fs::absolute(path, error).lexically_normal();
  if (error || path.empty() || !fs::exists(absolute, error)) {
    return NotFound("{}: \"{}\" is not there", option, path);
  }
  return absolute;
}

// Copies beside the target, fsyncs and renames.
Status CopyAtomic(const fs::path& from, const fs::path& to) {
  const fs::path temporary = to.string() + ".tmp";
  std::error_code error;
  fs::copy_file(from, temporary, fs::copy_options::overwrite_existing, error);
  if (error) {
    return ErrnoStatus(error.value(), "write " + to.string());
  }
  {
    ASSIGN_OR_RETURN(const FileDescriptor file, OpenFile(temporary, O_RDWR));
    if (fsync(file.get()) != 0) {
      return ErrnoStatus(errno, "fsync " + to.string());
    }
  }
  fs::rename(temporary, to, error);
  if (error) {
    return ErrnoStatus(error.value(), "write " + to.string());
  }
  return SyncDirectory(to.parent_path());
}

}  // namespace

StatusOr<ExplicitJob> ExplicitJob::Create(const std::string& name,
                                          const ExplicitOptions& options) {
  ExplicitJob job;
  job.name_ = name;
  std::error_code error;
  if (options.output.empty()) {
    return InvalidArgument("--output: got nothing, wanted the file to write");
  }
  job.output_ = fs::absolute(options.output, error).lexically_normal();
  if (error || !fs::is_directory(job.output_.parent_path(), error)) {
    return NotFound("--output: the folder of {} is not there", options.output);
  }
  job.root_ = job.output_.string() + ".work";
  job.folder_ = job.root_ / name;
  ASSIGN_OR_RETURN(job.model_, job.Input(options.model, "--model"));
  ASSIGN_OR_RETURN(const model_format::ModelConfig model,
                   model_format::LoadModelConfig(job.model_));
  if (model.is_moe()) {
    return InvalidArgument(
        "--model: got a mixture ({}), wanted a dense anchor that an expert can "
        "be made for",
        model_format::ModelTypeName(model.type));
  }
  job.num_layers_ = model.num_layers;
  job.hidden_size_ = model.hidden_size;
  job.intermediate_size_ = model.intermediate_size;
  job.threads_ = options.threads;
  job.job_.set_id(name);
  job.job_.set_seed(options.seed);
  job.job_.set_memory_limit_bytes(options.training.memory_limit_bytes);
  job.job_.set_device(options.device);
  return job;
}

StatusOr<std::string> ExplicitJob::Input(const std::string& path,
                                         const std::string& option) {
  ASSIGN_OR_RETURN(const fs::path absolute, AbsoluteExisting(path, option));
  inputs_.push_back(absolute);
  job_.add_read_paths(absolute.string());
  return absolute.string();
}

Status ExplicitJob::AddPrepareText(const ExplicitOptions& options) {
  job::PrepareText* task = job_.add_tasks()->mutable_prepare_text();
  task->set_model_directory(model_);
  for (const std::string& text : options.texts) {
    ASSIGN_OR_RETURN(const std::string path, Input(text, "--text"));
    task->add_train_paths(path);
  }
  for (const std::string& text : options.heldout) {
    ASSIGN_OR_RETURN(const std::string path, Input(text, "--heldout"));
    task->add_heldout_paths(path);
  }
  if (task->train_paths().empty()) {
    return InvalidArgument("--text: got nothing, wanted a file or folder");
  }
  task->set_text_field(options.text_field);
  task->set_window_tokens(options.window_tokens);
  task->set_share_windows(options.share_windows);
  return absl::OkStatus();
}

void ExplicitJob::AddCalibrate(const ExplicitOptions& options) {
  job::Calibrate* task = job_.add_tasks()->mutable_calibrate();
  task->set_model_directory(model_);
  task->set_tokens_path(Work(kTokensFile));
  task->set_first_layer(options.first_layer);
  task->set_sample_stride(2);
  task->set_write_trunk(true);
}

StatusOr<std::string> ExplicitJob::AddRouter(const ExplicitOptions& options) {
  if (!options.router.empty()) {
    return Input(options.router, "--router");
  }
  const std::string statistics = model_ + "/" + kPublicStatistics;
  if (!FileSize(statistics).ok()) {
    return FailedPrecondition(
        "{} is not there: router rows are made from public statistics, which "
        "anchor directories of a coordinator hold; or give rows with --router "
        "FILE",
        statistics);
  }
  job::FitRouter* task = job_.add_tasks()->mutable_fit_router();
  task->set_model_directory(model_);
  task->set_activations_path(Work(kActivationsFile));
  task->set_public_statistics_path(statistics);
  task->set_first_layer(options.first_layer);
  return Work(kRouterFile);
}

void ExplicitJob::AddExport(const std::string& expert,
                            const std::string& router, int rank) {
  job::ExportExpert* task = job_.add_tasks()->mutable_export_expert();
  task->set_model_directory(model_);
  task->set_expert_path(expert);
  task->set_router_path(router);
  task->set_output_name("export");
  task->set_rank(rank);
}

StatusOr<job::Result> ExplicitJob::Run(const cli::CommandContext& context,
                                       const std::string& produced) {
  ASSIGN_OR_RETURN(const std::string fingerprint, FingerprintPaths(inputs_));
  config::WorkerLimits limits;
  limits.set_threads(threads_);
  ASSIGN_OR_RETURN(
      const auto worker,
      CreateProcessWorker(
          {.limits = limits, .cancellation = &context.cancellation}));
  RETURN_IF_ERROR(MakeDirectories(root_));
  StageStore store(root_);
  const Stage stage = {.name = name_,
                       .job = job_,
                       .input_digests = {fingerprint},
                       .outputs = {produced}};
  cli::ProgressBar bar(context.output);
  ASSIGN_OR_RETURN(const job::Result result,
                   store.Run(stage, *worker, [&](const job::Progress& line) {
                     bar.Update(line.stage(), line.fraction(), line.message());
                   }));
  RETURN_IF_ERROR(CopyAtomic(folder_ / produced, output_));
  std::error_code error;
  for (const auto& [file, suffix] : companions_) {
    if (fs::exists(folder_ / file, error)) {
      RETURN_IF_ERROR(CopyAtomic(folder_ / file, output_.string() + suffix));
    }
  }
  fs::remove_all(root_, error);
  return result;
}

Status WriteZeroRouter(const fs::path& path, int64_t num_layers,
                       int64_t hidden_size) {
  const std::vector<std::byte> zeros(static_cast<size_t>(hidden_size) *
                                     sizeof(float));
  std::vector<safetensors::TensorView> tensors;
  for (int64_t l = 0; l < num_layers; ++l) {
    tensors.push_back({{model_format::RouterWeight(l),
                        safetensors::DType::kF32,
                        {hidden_size}},
                       zeros});
    tensors.push_back(
        {{model_format::RouterBias(l), safetensors::DType::kF32, {}},
         std::span(zeros).first(sizeof(float))});
  }
  return safetensors::WriteFile(path, tensors);
}

StatusOr<std::string> ExplicitJob::WriteZeroRouter() {
  const fs::path path = root_ / kZeroRouterFile;
  RETURN_IF_ERROR(MakeDirectories(root_));
  RETURN_IF_ERROR(
      contributor::WriteZeroRouter(path, num_layers_, hidden_size_));
  job_.add_read_paths(path.string());
  return path.string();
}

}  // namespace tributary::contributor

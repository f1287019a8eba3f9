#pragma once

// Builds and runs the one job behind a stage on explicit files.

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "common/base/status.h"
#include "common/cli/command_line.h"
#include "contributor/commands/explicit_stage.h"
#include "tributary/job/job.pb.h"

namespace tributary::contributor {

class ExplicitJob {
 public:
  // Checks the model directory. `name` is the command's.
  static StatusOr<ExplicitJob> Create(const std::string& name,
                                      const ExplicitOptions& options);

  // The absolute path of an input; the job may read it. NOT_FOUND names the
  // option.
  StatusOr<std::string> Input(const std::string& path,
                              const std::string& option);
  // The path that a file of the work folder will have.
  std::string Work(const std::string& file) const {
    return (folder_ / file).string();
  }
  const std::string& model() const { return model_; }
  int64_t num_layers() const { return num_layers_; }
  int64_t hidden_size() const { return hidden_size_; }
  int64_t intermediate_size() const { return intermediate_size_; }
  job::Job& job() { return job_; }

  // Tasks that several commands have. Their outputs have the names of plan.h.
  Status AddPrepareText(const ExplicitOptions& options);
  void AddCalibrate(const ExplicitOptions& options);
  // Rows from --router, or fitted with the model's public statistics; returns
  // the router's path. FAILED_PRECONDITION when there is neither.
  StatusOr<std::string> AddRouter(const ExplicitOptions& options);
  void AddExport(const std::string& expert, const std::string& router,
                 int rank = 0);

  // A file of the work folder that is kept beside --output, under its name and
  // `suffix`, where the job makes it.
  void AlsoKeep(const std::string& file, const std::string& suffix) {
    companions_.emplace_back(file, suffix);
  }

  // Runs the job and puts its file `produced` in the place of --output.
  StatusOr<job::Result> Run(const cli::CommandContext& context,
                            const std::string& produced);

  // A router file with rows of zeros in the work folder: the expert gets half
  // of every token. Returns its path.
  StatusOr<std::string> WriteZeroRouter();

 private:
  ExplicitJob() = default;
  std::filesystem::path output_;
  std::filesystem::path root_;    // OUTPUT.work
  std::filesystem::path folder_;  // the job's folder in it
  std::string name_;
  std::string model_;
  int64_t num_layers_ = 0;
  int64_t hidden_size_ = 0;
  int64_t intermediate_size_ = 0;
  int threads_ = 0;
  std::vector<std::filesystem::path> inputs_;
  std::vector<std::pair<std::string, std::string>> companions_;
  job::Job job_;
};

// Writes a file with rows of zeros for every layer: the expert gets half of
// every token.
Status WriteZeroRouter(const std::filesystem::path& path, int64_t num_layers,
                       int64_t hidden_size);

}  // namespace tributary::contributor

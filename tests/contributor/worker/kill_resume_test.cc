// The worker killed by SIGKILL at several steps of a training, and started
// again each time, makes what an uninterrupted one makes, bit for bit.

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/inotify.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "common/base/files.h"
#include "common/jobs/job_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;

const fs::path kFixtures = fs::path(TRIBUTARY_SOURCE_DIR) / "tests/fixtures";
const std::string kAnchor = kFixtures / "tiny_anchor";
constexpr char kLossFile[] = "expert.loss.jsonl";

std::vector<nlohmann::json> Lines(const fs::path& path) {
  std::vector<nlohmann::json> lines;
  const auto content = ReadFile(path);
  std::stringstream text(content.ok() ? *content : std::string());
  for (std::string line; std::getline(text, line);) {
    auto value = nlohmann::json::parse(line, nullptr, false);
    if (value.is_object()) {
      value.erase("seconds");
      lines.push_back(std::move(value));
    }
  }
  return lines;
}

int64_t StepsIn(const fs::path& path) {
  int64_t steps = 0;
  for (const auto& line : Lines(path)) {
    steps += line.contains("loss") ? 1 : 0;
  }
  return steps;
}

class KillResumeTest : public ::testing::Test {
 protected:
  fs::path Path(const std::string& name) const { return folder_.path() / name; }

  job::Job PrepareJob() const {
    job::Job job;
    job.set_output_directory(Path("prepared"));
    job.add_read_paths(kFixtures.string());
    job.add_read_paths(Path("prepared"));
    auto* prepare = job.add_tasks()->mutable_prepare_text();
    prepare->set_model_directory(kAnchor);
    prepare->add_train_paths(kFixtures / "text/domain_a.jsonl");
    prepare->add_heldout_paths(kFixtures / "text/domain_a_heldout.jsonl");
    prepare->set_window_tokens(64);
    prepare->set_max_train_windows(12);
    prepare->set_max_heldout_windows(4);
    auto* calibrate = job.add_tasks()->mutable_calibrate();
    calibrate->set_model_directory(kAnchor);
    calibrate->set_tokens_path(Path("prepared/tokens.safetensors"));
    calibrate->set_first_layer(1);
    calibrate->set_sample_stride(2);
    calibrate->set_write_trunk(true);
    return job;
  }

  // Everything at once that a checkpoint has to bring back.
  job::Job TrainJob(const std::string& output) const {
    job::Job job;
    job.set_output_directory(Path(output));
    job.add_read_paths(kAnchor);
    job.add_read_paths(Path("prepared"));
    job.set_seed(11);
    job.set_threads(2);
    auto* train = job.add_tasks()->mutable_train();
    train->set_model_directory(kAnchor);
    train->set_tokens_path(Path("prepared/tokens.safetensors"));
    train->set_trunk_path(Path("prepared/trunk.safetensors"));
    train->set_importance_path(Path("prepared/importance.safetensors"));
    train->set_first_layer(1);
    train->add_widths(384);
    train->set_rows(job::Train::TRAINED);
    train->set_activations_path(Path("prepared/activations.safetensors"));
    auto* optimizer = train->mutable_optimizer();
    optimizer->set_learning_rate(4e-3);
    optimizer->set_epochs(8);
    optimizer->set_windows_per_step(3);
    optimizer->set_micro_batch_windows(1);
    optimizer->set_checkpoint_steps(3);
    optimizer->set_validation_steps(2);
    optimizer->set_patience(4);
    optimizer->add_nested_widths(128);
    optimizer->add_nested_widths(384);
    return job;
  }

  pid_t Start(const job::Job& job) const {
    EXPECT_TRUE(MakeDirectories(job.output_directory()).ok());
    const fs::path file = fs::path(job.output_directory()) / "job.json";
    EXPECT_TRUE(jobs::WriteJob(job, file).ok());
    const std::string program =
        std::string(TRIBUTARY_BINARY_DIR) + "/bin/tributary-contributor-worker";
    const pid_t child = fork();
    if (child == 0) {
      const int null = open("/dev/null", O_RDWR);
      dup2(null, STDERR_FILENO);
      execl(program.c_str(), program.c_str(), "--job", file.c_str(), nullptr);
      _exit(127);
    }
    return child;
  }

  static int Wait(pid_t child) {
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return status;
  }

  void MustRun(const job::Job& job) const {
    const int status = Wait(Start(job));
    ASSERT_TRUE(WIFEXITED(status));
    const auto result =
        ReadFile(fs::path(job.output_directory()) / "result.json");
    ASSERT_EQ(WEXITSTATUS(status), 0) << (result.ok() ? *result : "");
  }

  // Starts the worker and kills it once `steps` steps are in its loss file.
  // False when it ended before that.
  bool RunAndKill(const job::Job& job, int64_t steps) const {
    const FileDescriptor watch(inotify_init1(IN_CLOEXEC));
    EXPECT_TRUE(watch.valid());
    EXPECT_TRUE(MakeDirectories(job.output_directory()).ok());
    EXPECT_GE(inotify_add_watch(watch.get(), job.output_directory().c_str(),
                                IN_MODIFY | IN_MOVED_TO),
              0);
    const pid_t child = Start(job);
    const FileDescriptor ended(
        static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
    const fs::path losses = fs::path(job.output_directory()) / kLossFile;
    for (;;) {
      pollfd events[] = {{watch.get(), POLLIN, 0}, {ended.get(), POLLIN, 0}};
      EXPECT_GT(poll(events, 2, -1), 0);
      if (events[1].revents != 0) {
        Wait(child);
        return false;
      }
      char buffer[1 << 14];
      EXPECT_GT(read(watch.get(), buffer, sizeof(buffer)), 0);
      if (StepsIn(losses) >= steps) {
        kill(child, SIGKILL);
        EXPECT_TRUE(WIFSIGNALED(Wait(child)));
        return true;
      }
    }
  }

  TemporaryDirectory folder_ = *TemporaryDirectory::Create("kill-resume");
};

TEST_F(KillResumeTest, PeakMemoryIsAsPredicted) {
  MustRun(PrepareJob());
  MustRun(TrainJob("whole"));
  const auto result = jobs::ReadResult(Path("whole/result.json"));
  ASSERT_TRUE(result.ok()) << result.status();
  const job::TrainResult& train = result->tasks(0).train();
  const auto predicted = static_cast<double>(train.predicted_peak_bytes());
  EXPECT_GT(predicted, 0);
  EXPECT_NEAR(static_cast<double>(train.measured_peak_bytes()) / predicted, 1,
              0.2);
}

TEST_F(KillResumeTest, KilledAtAnyStepMakesTheSameExpert) {
  MustRun(PrepareJob());
  MustRun(TrainJob("whole"));
  const auto whole = Lines(Path("whole") / kLossFile);
  ASSERT_GT(StepsIn(Path("whole") / kLossFile), 10);

  // One after the other in one folder: before the first checkpoint, between
  // two, behind measurements.
  const job::Job job = TrainJob("parts");
  int kills = 0;
  for (const int64_t steps : {1, 2, 5, 8}) {
    kills += RunAndKill(job, steps) ? 1 : 0;
    EXPECT_FALSE(fs::exists(Path("parts/expert.safetensors")));
  }
  EXPECT_EQ(kills, 4);
  MustRun(job);
  for (const char* name :
       {"expert.safetensors", "expert.router.safetensors", "expert.loss.svg"}) {
    EXPECT_EQ(*ReadFile(Path("whole") / name), *ReadFile(Path("parts") / name))
        << name;
  }
  EXPECT_EQ(Lines(Path("parts") / kLossFile), whole);
}

}  // namespace
}  // namespace tributary::contributor

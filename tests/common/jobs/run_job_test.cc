#include "common/jobs/run_job.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "common/base/files.h"
#include "common/jobs/job_file.h"

namespace tributary::jobs {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const fs::path kWorker =
    fs::path(TRIBUTARY_BINARY_DIR) / "bin" / "probe_worker";

class RunJobTest : public ::testing::Test {
 protected:
  RunJobTest() : folder_(*TemporaryDirectory::Create("run-job-test")) {
    fs::create_directories(folder_.path() / "in");
    fs::create_directories(folder_.path() / "out");
    fs::create_directories(folder_.path() / "secret");
    std::ofstream(folder_.path() / "in" / "file") << "input";
    std::ofstream(folder_.path() / "secret" / "file") << "secret";
  }

  job::Job MakeJob() const {
    job::Job job;
    job.set_id("test");
    job.set_output_directory((folder_.path() / "out").string());
    job.add_read_paths((folder_.path() / "in").string());
    job.set_threads(1);
    return job;
  }

  job::Job Misbehaving(const std::string& what) const {
    job::Job job = MakeJob();
    job.add_tasks()->mutable_model_inspect()->mutable_model()->set_directory(
        what);
    return job;
  }

  RunOptions Options() const {
    return {.executable = kWorker, .log_file = folder_.path() / "log"};
  }

  // A shell script that stands for a broken worker.
  fs::path Script(const std::string& body) const {
    const fs::path path = folder_.path() / "worker.sh";
    std::ofstream(path) << "#!/bin/sh\n" << body;
    chmod(path.c_str(), 0755);
    return path;
  }

  TemporaryDirectory folder_;
};

TEST_F(RunJobTest, WorkerIsConfinedToItsFolders) {
  job::Job job = MakeJob();
  auto* probe = job.add_tasks()->mutable_probe();
  probe->add_read_paths((folder_.path() / "in" / "file").string());
  probe->add_read_paths((folder_.path() / "secret" / "file").string());
  probe->add_read_paths("/etc/passwd");
  probe->add_write_paths((folder_.path() / "out" / "new").string());
  probe->add_write_paths((folder_.path() / "in" / "new").string());
  probe->add_write_paths((folder_.path() / "secret" / "new").string());
  const StatusOr<job::Result> result = RunJob(job, Options());
  ASSERT_TRUE(result.ok()) << result.status();
  const auto& found = result->tasks(0).probe();
  EXPECT_THAT(found.readable(), testing::ElementsAre(true, false, false));
  EXPECT_THAT(found.writable(), testing::ElementsAre(true, false, false));
  EXPECT_FALSE(found.inet_socket());
  EXPECT_FALSE(found.unix_socket());
  EXPECT_FALSE(found.execute());
}

TEST_F(RunJobTest, ProgressReachesTheCaller) {
  RunOptions options = Options();
  std::vector<std::string> messages;
  options.on_progress = [&](const job::Progress& progress) {
    messages.push_back(progress.stage() + ": " + progress.message());
  };
  ASSERT_TRUE(RunJob(Misbehaving("nothing"), options).ok());
  EXPECT_THAT(messages, testing::ElementsAre("model_inspect: done"));
}

TEST_F(RunJobTest, StatusOfTheTaskIsReturned) {
  const Status status = RunJob(Misbehaving("refuse"), Options()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("this input is wrong"));
}

TEST_F(RunJobTest, CrashIsAnErrorWithTheSignalAndTheLog) {
  const Status status = RunJob(Misbehaving("crash"), Options()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("signal 6"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("log"));
}

TEST_F(RunJobTest, MemoryLimitIsResourceExhausted) {
  job::Job job = Misbehaving("allocate");
  job.set_memory_limit_bytes(1ull << 30);
  const Status status = RunJob(job, Options()).status();
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  // The shadow takes more address space than any limit: it cannot start.
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
#else
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
#endif
}

TEST_F(RunJobTest, UnknownTaskIsUnimplemented) {
  job::Job job = MakeJob();
  job.add_tasks()->mutable_train();
  const Status status = RunJob(job, Options()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("train"));
}

TEST_F(RunJobTest, CancellationEndsTheWorker) {
  CancellationToken token;
  RunOptions options = Options();
  options.cancellation = &token;
  std::jthread canceller([&] { token.Cancel(); });
  const Status status = RunJob(Misbehaving("hang"), options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kCancelled);
}

TEST_F(RunJobTest, StalledWorkerIsEnded) {
  RunOptions options = Options();
  options.executable = Script("exec sleep 600\n");
  options.stall_limit_s = 0.3;
  const Status status = RunJob(MakeJob(), options).status();
  EXPECT_TRUE(absl::IsDeadlineExceeded(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("reported nothing"));
}

TEST_F(RunJobTest, WorkerThatClosesItsPipeAndStaysIsEnded) {
  RunOptions options = Options();
  options.executable = Script("exec 3>&-\nexec sleep 600\n");
  options.stall_limit_s = 0.3;
  const Status status = RunJob(MakeJob(), options).status();
  EXPECT_TRUE(absl::IsResourceExhausted(status)) << status;
}

TEST_F(RunJobTest, MissingReadPathIsNotFoundBeforeAnythingRuns) {
  job::Job job = Misbehaving("nothing");
  job.add_read_paths("/does/not/exist");
  const Status status = RunJob(job, Options()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/does/not/exist"));
}

TEST_F(RunJobTest, UnconfinedWorkerIsRefused) {
  RunOptions options = Options();
  options.executable =
      Script("echo '{\"stage\":\"train\",\"fraction\":0.5}' >&3\nsleep 5\n");
  const Status status = RunJob(Misbehaving("nothing"), options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(RunJobTest, NoisyPipeIsAnErrorNotACrash) {
  RunOptions options = Options();
  options.executable = Script("echo 'not json' >&3\n");
  const Status status = RunJob(Misbehaving("nothing"), options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(RunJobTest, MissingExecutableIsNamed) {
  RunOptions options = Options();
  options.executable = folder_.path() / "nothing-here";
  const Status status = RunJob(Misbehaving("nothing"), options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("nothing-here"));
}

TEST_F(RunJobTest, JobFileWithAnUnknownFieldIsRefused) {
  const fs::path file = folder_.path() / "job.json";
  std::ofstream(file) << R"({"id":"x","surprise":1})";
  const Status status = ReadJob(file).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("surprise"));
}

}  // namespace
}  // namespace tributary::jobs

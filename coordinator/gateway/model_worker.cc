#include "coordinator/gateway/model_worker.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <vector>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/jobs/frame_pipe.h"
#include "common/jobs/pipe.h"
#include "common/jobs/run_job.h"

namespace tributary::coordinator {
namespace {

constexpr double kFirstPauseSeconds = 1;
constexpr double kLongestPauseSeconds = 60;
// A process that served for so long starts again at once.
constexpr double kHealthySeconds = 60;
constexpr std::chrono::milliseconds kPoll(100);

}  // namespace

// The way to the running process.
struct ModelWorker::Channel {
  explicit Channel(FileDescriptor requests)
      : file(std::move(requests)), writer(file.get()) {}
  FileDescriptor file;
  jobs::FrameWriter writer;
};

ModelWorker::ModelWorker(Options options)
    : options_(std::move(options)), supervisor_([this] { Supervise(); }) {}

ModelWorker::~ModelWorker() {
  Stop(0);
  supervisor_.join();
}

void ModelWorker::Supervise() {
  double pause = kFirstPauseSeconds;
  while (true) {
    const double start = SystemClock().MonotonicSeconds();
    Status status = RunOnce();
    std::unique_lock lock(mutex_);
    const bool was_ready = facts_.ready || facts_.restarts > 0;
    facts_.ready = false;
    facts_.pid = 0;
    channel_.reset();
    const bool ends = stopping_ || !was_ready;
    if (ends) {
      ended_ = true;
      end_status_ = status;
    } else {
      ++facts_.restarts;
    }
    lock.unlock();
    changed_.notify_all();
    FailAll(Unavailable("the process that serves the model ended; try again"));
    if (ends) {
      return;
    }
    if (SystemClock().MonotonicSeconds() - start > kHealthySeconds) {
      pause = kFirstPauseSeconds;
    }
    log::Error("the serving worker ended: {}; it starts again in {:.0f} s",
               status.ok() ? "without a reason" : std::string(status.message()),
               pause);
    lock.lock();
    changed_.wait_for(lock, std::chrono::duration<double>(pause),
                      [this] { return stopping_; });
    pause = std::min(2 * pause, kLongestPauseSeconds);
    if (stopping_) {
      ended_ = true;
      lock.unlock();
      changed_.notify_all();
      return;
    }
  }
}

Status ModelWorker::RunOnce() {
  ASSIGN_OR_RETURN(jobs::Pipe requests, jobs::MakePipe());
  ASSIGN_OR_RETURN(jobs::Pipe events, jobs::MakePipe());
  {
    const std::lock_guard lock(mutex_);
    if (stopping_) {
      return Cancelled("stopped");
    }
    channel_ = std::make_shared<Channel>(std::move(requests.write_end));
    facts_.engine.Clear();
  }
  std::thread reader([this, fd = events.read_end.get()] { ReadEvents(fd); });
  jobs::RunOptions run = {.executable = options_.executable,
                          .log_file = options_.log_file,
                          .cancellation = &kill_};
  run.streams = jobs::RunOptions::StandardStreams::kGiven;
  run.input_fd = requests.read_end.get();
  run.output_fd = events.write_end.get();
  run.on_start = [&](int pid) {
    requests.read_end = FileDescriptor();
    events.write_end = FileDescriptor();
    const std::lock_guard lock(mutex_);
    facts_.pid = pid;
  };
  const Status status = jobs::RunJob(options_.job, run).status();
  events.write_end = FileDescriptor();  // where it did not start
  reader.join();
  return status;
}

void ModelWorker::ReadEvents(int fd) {
  jobs::FrameReader reader(fd);
  while (true) {
    StatusOr<std::optional<std::string>> frame = reader.Next();
    job::InferenceEvent event;
    if (!frame.ok() || !frame->has_value() || !event.ParseFromString(**frame)) {
      break;
    }
    HandOn(event);
  }
  // What is still said is of no use; read on so that nobody waits for room.
  std::array<char, 4096> rest;
  while (read(fd, rest.data(), rest.size()) > 0) {
  }
}

void ModelWorker::HandOn(const job::InferenceEvent& event) {
  const std::lock_guard handing_on(handing_on_);
  std::shared_ptr<Listener> listener;
  {
    const std::lock_guard lock(mutex_);
    if (event.has_ready()) {
      facts_.ready = true;
      facts_.model = event.ready();
      changed_.notify_all();
      return;
    }
    if (event.has_state()) {
      facts_.engine = event.state();
      return;
    }
    const auto found = listeners_.find(event.id());
    if (found == listeners_.end()) {
      return;  // cancelled, or never asked
    }
    listener = found->second;
    if (event.has_completion_end() || event.has_error()) {
      listeners_.erase(found);
    }
  }
  (*listener)(event);
}

void ModelWorker::FailAll(const Status& status) {
  const std::lock_guard handing_on(handing_on_);
  std::map<uint64_t, std::shared_ptr<Listener>> failed;
  {
    const std::lock_guard lock(mutex_);
    failed.swap(listeners_);
  }
  for (const auto& [id, listener] : failed) {
    job::InferenceEvent event;
    event.set_id(id);
    event.mutable_error()->set_code(static_cast<int>(status.code()));
    event.mutable_error()->set_message(std::string(status.message()));
    (*listener)(event);
  }
}

Status ModelWorker::WaitUntilReady(const CancellationToken& cancellation) {
  std::unique_lock lock(mutex_);
  while (!facts_.ready) {
    if (ended_) {
      return end_status_.ok() ? Internal("the serving worker ended at once")
                              : end_status_;
    }
    RETURN_IF_ERROR(cancellation.Check());
    changed_.wait_for(lock, kPoll);
  }
  return absl::OkStatus();
}

StatusOr<uint64_t> ModelWorker::Submit(const job::Completion& completion,
                                       Listener listener) {
  std::shared_ptr<Channel> channel;
  job::InferenceRequest request;
  {
    const std::lock_guard lock(mutex_);
    if (!facts_.ready || stopping_) {
      return Unavailable("the model is being loaded; try again");
    }
    channel = channel_;
    request.set_id(next_id_++);
    listeners_[request.id()] = std::make_shared<Listener>(std::move(listener));
  }
  *request.mutable_completion() = completion;
  if (!channel->writer.Write(request.SerializeAsString()).ok()) {
    const std::lock_guard lock(mutex_);
    // Where it is gone already, its listener has heard so.
    if (listeners_.erase(request.id()) > 0) {
      return Unavailable("the process that serves the model ended; try again");
    }
  }
  return request.id();
}

void ModelWorker::Cancel(uint64_t id) {
  const std::lock_guard handing_on(handing_on_);
  std::shared_ptr<Channel> channel;
  {
    const std::lock_guard lock(mutex_);
    if (listeners_.erase(id) == 0) {
      return;
    }
    channel = channel_;
  }
  if (channel != nullptr) {
    job::InferenceRequest request;
    request.set_id(id);
    request.mutable_cancel();
    // A process that ended has forgotten it anyway.
    static_cast<void>(channel->writer.Write(request.SerializeAsString()));
  }
}

void ModelWorker::Stop(double seconds) {
  std::unique_lock lock(mutex_);
  stopping_ = true;
  channel_.reset();
  changed_.notify_all();
  changed_.wait_for(lock, std::chrono::duration<double>(seconds),
                    [this] { return ended_; });
  if (!ended_) {
    kill_.Cancel();
  }
}

ModelWorker::Facts ModelWorker::facts() const {
  const std::lock_guard lock(mutex_);
  return facts_;
}

}  // namespace tributary::coordinator

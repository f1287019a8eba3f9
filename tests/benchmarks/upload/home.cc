#include "tests/benchmarks/upload/home.h"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <sstream>
#include <thread>

#include "common/base/files.h"
#include "common/base/random.h"
#include "common/crypto/digest.h"
#include "coordinator/storage/contribution_store.h"

extern char** environ;

namespace tributary::benchmarks {
namespace fs = std::filesystem;
namespace {

using coordinator::TestFederation;

coordinator::Settings BenchSettings() {
  coordinator::Settings settings;
  settings.federation = "test";
  settings.listen_address = "127.0.0.1:0";
  settings.quotas.min_free_disk_bytes = 1;
  return settings;
}

Status WriteRandom(const fs::path& path, uint64_t bytes) {
  std::ofstream out(path, std::ios::binary);
  const std::string piece = RandomBytes(1 << 20);
  for (uint64_t done = 0; done < bytes; done += piece.size()) {
    out.write(piece.data(), static_cast<std::streamsize>(std::min<uint64_t>(
                                piece.size(), bytes - done)));
  }
  out.close();
  return out ? absl::OkStatus()
             : ResourceExhausted("cannot write {}", path.string());
}

}  // namespace

StatusOr<pid_t> StartSelf(const std::vector<std::string>& arguments) {
  std::vector<std::string> all = {"/proc/self/exe"};
  all.insert(all.end(), arguments.begin(), arguments.end());
  std::vector<char*> raw;
  for (std::string& argument : all) {
    raw.push_back(argument.data());
  }
  raw.push_back(nullptr);
  pid_t pid = -1;
  const int error =
      posix_spawn(&pid, raw[0], nullptr, nullptr, raw.data(), environ);
  return error == 0 ? StatusOr<pid_t>(pid) : ErrnoStatus(error, "spawn");
}

double ProcessorSeconds(pid_t process) {
  clockid_t clock = CLOCK_MONOTONIC;
  timespec time = {};
  if (clock_getcpuclockid(process, &clock) != 0 ||
      clock_gettime(clock, &time) != 0) {
    return 0;
  }
  return static_cast<double>(time.tv_sec) +
         static_cast<double>(time.tv_nsec) * 1e-9;
}

StatusOr<std::string> WaitForFile(const fs::path& path) {
  for (int i = 0; i < 3000; ++i) {
    if (auto text = ReadFile(path); text.ok() && !text->empty()) {
      text->erase(text->find_last_not_of('\n') + 1);
      return text;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return DeadlineExceeded("{} did not appear", path.string());
}

std::string BenchHome::Contribution(int owner, int upload) {
  return "owner" + std::to_string(owner) + "-" + std::to_string(upload);
}

StatusOr<std::unique_ptr<BenchHome>> BenchHome::Create(int owners, int uploads,
                                                       uint64_t file_bytes) {
  std::unique_ptr<BenchHome> home(new BenchHome());
  ASSIGN_OR_RETURN(home->federation_, TestFederation::Create());
  ASSIGN_OR_RETURN(const std::string digest,
                   home->federation_->PublishAnchor());
  for (int i = 0; i < owners; ++i) {
    ASSIGN_OR_RETURN(coordinator::Owner owner,
                     home->federation_->Enrol("owner" + std::to_string(i)));
    home->owners_.push_back(std::move(owner));
    // Enrolment is limited in rate.
    home->federation_->clock().Advance(1);
  }
  home->federation_->Stop();
  home->file_ = home->federation_->path() / "expert.bin";
  RETURN_IF_ERROR(WriteRandom(home->file_, file_bytes));
  ASSIGN_OR_RETURN(const crypto::FileDigest file,
                   crypto::DigestFile(home->file_));
  home->blob_ = {.sha256 = file.sha256, .size = file.size};
  RETURN_IF_ERROR(home->Insert(uploads, digest));
  return home;
}

Status BenchHome::Insert(int uploads, const std::string& anchor_digest) {
  ASSIGN_OR_RETURN(
      const auto database,
      coordinator::Database::Open(federation_->home().database(),
                                  coordinator::Database::Mode::kExisting));
  return database->Transact([&](coordinator::Transaction& transaction) {
    for (size_t owner = 0; owner < owners_.size(); ++owner) {
      for (int i = 0; i < uploads; ++i) {
        coordinator::ContributionRow row;
        row.id = Contribution(static_cast<int>(owner), i);
        row.contributor = owners_[owner].id;
        row.anchor_digest = anchor_digest;
        row.blob = blob_.ToString();
        coordinator::ContributionStore(transaction).Add(row);
      }
    }
    return absl::OkStatus();
  });
}

Status BenchHome::StartServer() {
  std::error_code error;
  fs::remove(federation_->home().address(), error);
  ASSIGN_OR_RETURN(server_,
                   StartSelf({"serve", federation_->home().root().string()}));
  ASSIGN_OR_RETURN(address_, WaitForFile(federation_->home().address()));
  return absl::OkStatus();
}

void BenchHome::Kill() {
  if (server_ > 0) {
    kill(server_, SIGKILL);
    waitpid(server_, nullptr, 0);
    server_ = -1;
  }
}

BenchHome::~BenchHome() { Kill(); }

int64_t BenchHome::ServerMemoryKib(const std::string& line) const {
  std::ifstream status("/proc/" + std::to_string(server_) + "/status");
  std::string text;
  while (std::getline(status, text)) {
    if (text.rfind(line + ":", 0) == 0) {
      return std::strtoll(text.c_str() + line.size() + 1, nullptr, 10);
    }
  }
  return 0;
}

int ServeHome(const std::string& home) {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  coordinator::WorkerScript script;
  const auto server = coordinator::Server::Start(
      {.home = home, .settings = BenchSettings(), .version = "bench"},
      std::make_unique<coordinator::FakeTaskRunner>(script));
  if (!server.ok()) {
    fprintf(stderr, "%s\n", server.status().ToString().c_str());
    return 1;
  }
  int signal = 0;
  sigwait(&signals, &signal);
  return 0;
}

}  // namespace tributary::benchmarks

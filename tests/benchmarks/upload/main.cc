// Measures uploads. Prints one line of JSON.
//   speed ROUNDS MIB        raw loopback, the same work without gRPC, ours;
//                           with and without TLS, in turn
//   push ROUNDS MIB         ours with TLS alone
//   resume ROUNDS MIB       kill -9 of the server at random bytes
//   load STREAMS MIB        memory of a server with so many uploads at once
//   calls SAMPLES           other calls, with 100 to 10,000 contributions
//   hash ROUNDS             all cores
// TMPDIR chooses the file system.

#include <grpcpp/create_channel.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "common/base/files.h"
#include "common/rpc/blob_stream.h"
#include "common/rpc/channel.h"
#include "contributor/client/blob_transfer.h"
#include "tests/benchmarks/upload/bare_upload.h"
#include "tests/benchmarks/upload/call_sweep.h"
#include "tests/benchmarks/upload/home.h"
#include "tests/benchmarks/upload/loopback.h"
#include "tests/benchmarks/upload/plain_server.h"

namespace tributary::benchmarks {
namespace {

using Json = nlohmann::json;
using contributor::BlobUpload;
using contributor::RetryOptions;
using contributor::UploadBlob;

double Now() { return SystemClock().MonotonicSeconds(); }

std::shared_ptr<grpc::Channel> ChannelOf(const BenchHome& home, int owner) {
  return rpc::CreateChannel(home.address(), home.owner(owner).identity);
}

BlobUpload UploadOf(const BenchHome& home, int owner, int upload) {
  return {.contribution = BenchHome::Contribution(owner, upload),
          .blob = home.blob(),
          .file = home.file()};
}

StatusOr<double> TimeUpload(const std::shared_ptr<grpc::Channel>& channel,
                            const BlobUpload& upload) {
  const RetryOptions retry;
  const double start = Now();
  RETURN_IF_ERROR(UploadBlob(channel, upload, retry, nullptr));
  return Now() - start;
}

// The server of the data path without TLS.
class PlainServer {
 public:
  static StatusOr<std::unique_ptr<PlainServer>> Start() {
    ASSIGN_OR_RETURN(TemporaryDirectory folder,
                     TemporaryDirectory::Create("plain"));
    std::unique_ptr<PlainServer> server(new PlainServer(std::move(folder)));
    const std::filesystem::path& root = server->folder_.path();
    ASSIGN_OR_RETURN(server->pid_, StartSelf({"serve-plain", root.string()}));
    ASSIGN_OR_RETURN(server->address_, WaitForFile(root / "address"));
    return server;
  }
  ~PlainServer() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
  }
  pid_t pid() const { return pid_; }
  const std::string& address() const { return address_; }

 private:
  explicit PlainServer(TemporaryDirectory folder)
      : folder_(std::move(folder)) {}
  TemporaryDirectory folder_;
  pid_t pid_ = -1;
  std::string address_;
};

// Adds seconds and processor seconds (both ends) of one upload to lists.
Status AddUpload(const std::shared_ptr<grpc::Channel>& channel,
                 const BlobUpload& upload, pid_t server,
                 const std::string& name, Json& result) {
  const double before = ProcessorSeconds(getpid()) + ProcessorSeconds(server);
  ASSIGN_OR_RETURN(const double seconds, TimeUpload(channel, upload));
  result[name].push_back(seconds);
  result[name + "_cpu"].push_back(ProcessorSeconds(getpid()) +
                                  ProcessorSeconds(server) - before);
  return absl::OkStatus();
}

StatusOr<Json> Speed(int rounds, uint64_t bytes) {
  ASSIGN_OR_RETURN(const auto home, BenchHome::Create(1, rounds + 1, bytes));
  RETURN_IF_ERROR(home->StartServer());
  ASSIGN_OR_RETURN(const auto plain, PlainServer::Start());
  ASSIGN_OR_RETURN(const TemporaryDirectory bare,
                   TemporaryDirectory::Create("bare"));
  const auto tls = ChannelOf(*home, 0);
  const auto tcp =
      grpc::CreateChannel(plain->address(), grpc::InsecureChannelCredentials());
  const auto add = [&](Link::Kind kind, const std::string& name,
                       Json& times) -> Status {
    ASSIGN_OR_RETURN(const double raw, RawSeconds(kind, bytes));
    times["raw_" + name].push_back(raw);
    const double before = ProcessorSeconds(getpid());
    ASSIGN_OR_RETURN(
        const double work,
        BareUploadSeconds(kind, home->file(), home->blob(), bare.path()));
    times["bare_" + name].push_back(work);
    times["bare_" + name + "_cpu"].push_back(ProcessorSeconds(getpid()) -
                                             before);
    return absl::OkStatus();
  };
  Json result;
  for (int round = 0; round <= rounds; ++round) {
    const BlobUpload upload = UploadOf(*home, 0, round);
    if (round <= 1) {
      result = {{"bytes", bytes}};  // the first round warms up
    }
    RETURN_IF_ERROR(add(Link::Kind::kTls, "tls", result));
    RETURN_IF_ERROR(AddUpload(tls, upload, home->server(), "ours_tls", result));
    RETURN_IF_ERROR(add(Link::Kind::kTcp, "tcp", result));
    RETURN_IF_ERROR(AddUpload(tcp, upload, plain->pid(), "ours_tcp", result));
  }
  return result;
}

StatusOr<Json> Push(int rounds, uint64_t bytes) {
  ASSIGN_OR_RETURN(const auto home, BenchHome::Create(1, rounds + 1, bytes));
  RETURN_IF_ERROR(home->StartServer());
  const auto channel = ChannelOf(*home, 0);
  RETURN_IF_ERROR(TimeUpload(channel, UploadOf(*home, 0, rounds)).status());
  Json result = {{"bytes", bytes}};
  for (int round = 0; round < rounds; ++round) {
    RETURN_IF_ERROR(AddUpload(channel, UploadOf(*home, 0, round),
                              home->server(), "ours_tls", result));
  }
  return result;
}

// Kills the server when `at` bytes were sent; how many went out in all.
StatusOr<uint64_t> UploadUntilKilled(BenchHome& home, const BlobUpload& upload,
                                     uint64_t at) {
  const auto channel = ChannelOf(home, 0);
  uint64_t sent = 0;
  const RetryOptions retry = {.give_up_after_s = 0.001};
  const Status status =
      UploadBlob(channel, upload, retry, [&](uint64_t done, uint64_t) {
        if (sent < at && done >= at) {
          home.Kill();
        }
        sent = done;
      });
  return status.ok() ? StatusOr<uint64_t>(Internal("it was not killed"))
                     : StatusOr<uint64_t>(sent);
}

// Seconds from asking to the first answer about an upload that goes on: the
// server opens the partial and says where to continue.
StatusOr<double> Handshake(BenchHome& home, const BlobUpload& upload,
                           uint64_t& committed) {
  const auto channel = ChannelOf(home, 0);
  const auto stub = v1::BlobService::NewStub(channel);
  channel->WaitForConnected(std::chrono::system_clock::now() +
                            std::chrono::seconds(10));
  double best = 1e9;
  for (int i = 0; i < 5; ++i) {
    const double start = Now();
    grpc::ClientContext context;
    v1::WriteResponse response;
    const auto writer = stub->Write(&context, &response);
    v1::WriteRequest message;
    message.set_resource_name(upload.blob.ToString());
    message.set_contribution("contributions/" + upload.contribution);
    message.set_write_offset(static_cast<int64_t>(upload.blob.size));
    writer->Write(message);
    const Status status = rpc::FromGrpcStatus(writer->Finish());
    best = std::min(best, Now() - start);
    const auto info = rpc::GetErrorInfo(status);
    if (!info || !info->metadata.contains(rpc::kCommittedSizeKey)) {
      return Internal("unexpected answer: {}", status.ToString());
    }
    committed = std::stoull(info->metadata.at(rpc::kCommittedSizeKey));
  }
  return best;
}

StatusOr<Json> Resume(int rounds, uint64_t bytes) {
  ASSIGN_OR_RETURN(const auto home, BenchHome::Create(1, rounds, bytes));
  RETURN_IF_ERROR(home->StartServer());
  std::mt19937_64 random(7);
  Json result = {{"bytes", bytes},
                 {"sync_interval", rpc::kCommitIntervalBytes},
                 {"chunk", rpc::kMaxChunkBytes}};
  for (int round = 0; round < rounds; ++round) {
    const BlobUpload upload = UploadOf(*home, 0, round);
    // First and last points are fixed, so that sizes far apart are compared.
    const uint64_t at = round == 0            ? bytes / 16
                        : round == rounds - 1 ? bytes - bytes / 16
                                              : random() % (bytes - 1) + 1;
    ASSIGN_OR_RETURN(const uint64_t sent, UploadUntilKilled(*home, upload, at));
    RETURN_IF_ERROR(home->StartServer());
    uint64_t committed = 0;
    ASSIGN_OR_RETURN(const double seconds, Handshake(*home, upload, committed));
    RETURN_IF_ERROR(TimeUpload(ChannelOf(*home, 0), upload).status());
    result["runs"].push_back({{"sent", sent},
                              {"committed", committed},
                              {"sent_again", sent - committed},
                              {"handshake_s", seconds}});
  }
  return result;
}

StatusOr<Json> Load(int streams, uint64_t bytes) {
  ASSIGN_OR_RETURN(const auto home, BenchHome::Create(streams, 1, bytes));
  RETURN_IF_ERROR(home->StartServer());
  const int64_t before = home->ServerMemoryKib("VmRSS");
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  const double start = Now();
  for (int i = 0; i < streams; ++i) {
    threads.emplace_back([&, i] {
      const auto done = TimeUpload(ChannelOf(*home, i), UploadOf(*home, i, 0));
      if (!done.ok()) {
        fprintf(stderr, "%s\n", done.status().ToString().c_str());
        ++failed;
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return Json{{"streams", streams},
              {"bytes_each", bytes},
              {"seconds", Now() - start},
              {"failed", failed.load()},
              {"rss_before_kib", before},
              {"rss_peak_kib", home->ServerMemoryKib("VmHWM")}};
}

Json Hash(int rounds) {
  const int cores = static_cast<int>(std::thread::hardware_concurrency());
  constexpr uint64_t kBytes = 1ull << 30;
  Json result = {{"cores", cores}, {"bytes", kBytes}};
  HashSeconds(cores, kBytes / 4);
  for (int i = 0; i < rounds; ++i) {
    result["all_cores"].push_back(HashSeconds(cores, kBytes));
    result["one_core"].push_back(HashSeconds(1, kBytes));
  }
  return result;
}

int Main(int argc, char** argv) {
  const std::string mode = argc > 1 ? argv[1] : "";
  const auto number = [&](int i, int fallback) {
    return argc > i ? std::atoi(argv[i]) : fallback;
  };
  if (mode == "serve" && argc > 2) {
    return ServeHome(argv[2]);
  }
  if (mode == "serve-plain" && argc > 2) {
    return ServePlain(argv[2]);
  }
  const uint64_t bytes = static_cast<uint64_t>(number(3, 256)) << 20;
  StatusOr<Json> result = InvalidArgument(
      "got '{}', wanted speed, push, resume, load, calls or hash; see the "
      "first lines "
      "of "
      "this program",
      mode);
  if (mode == "speed") {
    result = Speed(number(2, 5), bytes);
  } else if (mode == "push") {
    result = Push(number(2, 5), bytes);
  } else if (mode == "resume") {
    result = Resume(number(2, 10), bytes);
  } else if (mode == "load") {
    result = Load(number(2, 64), bytes);
  } else if (mode == "calls") {
    result = CallSweep(number(2, 400));
  } else if (mode == "hash") {
    result = Hash(number(2, 5));
  }
  if (!result.ok()) {
    fprintf(stderr, "error: %s\n", result.status().ToString().c_str());
    return 1;
  }
  printf("%s\n", result->dump().c_str());
  return 0;
}

}  // namespace
}  // namespace tributary::benchmarks

int main(int argc, char** argv) {
  return tributary::benchmarks::Main(argc, argv);
}

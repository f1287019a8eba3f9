#pragma once

#include <sys/types.h>

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "common/base/status.h"
#include "common/manifest/blob_name.h"
#include "tests/coordinator/service/test_federation.h"

namespace tributary::benchmarks {

// A coordinator's home with contributors that may upload one large file each,
// several times, and a server on it as a process that can be killed.
class BenchHome {
 public:
  // `uploads`: contributions of each owner, named "<owner>-<i>".
  static StatusOr<std::unique_ptr<BenchHome>> Create(int owners, int uploads,
                                                     uint64_t file_bytes);
  ~BenchHome();

  // Starts `this program serve HOME`; waits until it listens.
  Status StartServer();
  void Kill();

  const std::filesystem::path& file() const { return file_; }
  const manifest::BlobName& blob() const { return blob_; }
  const std::string& address() const { return address_; }
  const coordinator::Owner& owner(int i) const { return owners_[i]; }
  static std::string Contribution(int owner, int upload);
  // A line of the server's /proc/PID/status, in KiB: VmRSS, VmHWM.
  int64_t ServerMemoryKib(const std::string& line) const;
  pid_t server() const { return server_; }

 private:
  BenchHome() = default;
  Status Insert(int uploads, const std::string& anchor_digest);

  std::unique_ptr<coordinator::TestFederation> federation_;
  std::vector<coordinator::Owner> owners_;
  std::filesystem::path file_;
  manifest::BlobName blob_;
  std::string address_;
  pid_t server_ = -1;
};

// Serves a home until SIGTERM; the body of `serve`.
int ServeHome(const std::string& home);

// Starts this program again with the arguments. The process id.
StatusOr<pid_t> StartSelf(const std::vector<std::string>& arguments);

// Processor seconds that a process has used so far.
double ProcessorSeconds(pid_t process);

// Waits for a file that a child writes, at most 30 s.
StatusOr<std::string> WaitForFile(const std::filesystem::path& path);

}  // namespace tributary::benchmarks

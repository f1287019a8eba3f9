#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tributary::coordinator {

// What a coordinator is doing at a moment; times are seconds since the Unix
// epoch, names are resource names.
struct DashboardFacts {
  struct Contribution {
    std::string name;
    std::string contributor;
    std::string state;
    std::string reason;  // of the decision
    int64_t update_time_s = 0;
  };
  struct Upload {
    std::string contribution;
    int64_t size_bytes = 0;
    int64_t committed_bytes = 0;
    int64_t expire_time_s = 0;
  };
  struct Job {
    std::string kind;
    std::string subject;
    std::string state;
    int64_t attempts = 0;
  };
  struct Release {
    std::string name;
    std::string state;
    std::string digest;
    std::string reason;
    int64_t create_time_s = 0;
  };
  struct Withdrawal {
    std::string name;
    std::string contribution;
    std::string state;
    int64_t create_time_s = 0;
  };

  std::string federation;
  std::string version;
  int64_t time_s = 0;
  int64_t contributors = 0;
  int64_t accepted = 0;
  std::string latest_release;  // empty: none
  int64_t blob_bytes = 0;
  int64_t audit_records = 0;
  std::string audit_head_hash;
  std::vector<Contribution> contributions;  // newest first
  std::vector<Upload> uploads;
  std::vector<Job> jobs;
  std::vector<Release> releases;        // newest first
  std::vector<Withdrawal> withdrawals;  // newest first
  std::vector<std::string> missing_blobs;
  // Whether there are more contributions, releases or withdrawals than these.
  bool shortened = false;
};

struct DashboardOptions {
  int64_t refresh_s = 0;  // 0: the page stays as it is
  // Why the facts are not of now; empty: they are.
  std::string problem;
};

// The page, in the look of a release's report.
std::string DashboardPage(const DashboardFacts& facts,
                          const DashboardOptions& options);

}  // namespace tributary::coordinator

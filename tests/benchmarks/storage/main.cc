// How calls slow down as the database grows: the same calls in turn on 100 and
// on 10,000 contributions. Prints one line of JSON:
//   {"list": {"small_s": p99, "large_s": p99}, "get": ..., "withdraw": ...}
// tributary_benchmarks_storage FOLDER [SAMPLES]

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "coordinator/storage/contribution_store.h"
#include "coordinator/withdrawal/withdraw.h"
#include "tests/benchmarks/storage/filled_database.h"

namespace tributary::benchmarks {
namespace {

using coordinator::ContributionStore;
using coordinator::Transaction;

constexpr int kSmall = 100;
constexpr int kLarge = 10'000;
// Withdrawals before the small database is filled again.
constexpr int kWithdrawals = 40;

double P99(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() * 99 / 100];
}

using Call = std::function<Status(FilledDatabase&, int contribution)>;

Status List(FilledDatabase& filled, int contribution) {
  return filled.database().Transact([&](Transaction& transaction) {
    const auto rows = ContributionStore(transaction)
                          .List({.contributor = ContributorId(contribution)}, INT64_MAX, 20);
    return rows.size() == 20 ? absl::OkStatus() : Internal("a short list");
  });
}

Status Get(FilledDatabase& filled, int contribution) {
  return filled.database().Transact([&](Transaction& transaction) {
    return ContributionStore(transaction).Find(ContributionId(contribution))
               ? absl::OkStatus()
               : Internal("not found");
  });
}

Status Withdraw(FilledDatabase& filled, int contribution) {
  return filled.database().Transact([&](Transaction& transaction) -> Status {
    const auto row =
        ContributionStore(transaction).Find(ContributionId(contribution));
    return coordinator::Withdraw(filled.core(), transaction, *row,
                                 {.actor = "contributors/" + row->contributor})
        .status();
  });
}

StatusOr<double> Time(const Call& call, FilledDatabase& filled,
                      int contribution) {
  const double begin = SystemClock().MonotonicSeconds();
  RETURN_IF_ERROR(call(filled, contribution));
  return SystemClock().MonotonicSeconds() - begin;
}

// p99 of a call on both, one after the other each time.
StatusOr<Json> Compare(const Call& call, FilledDatabase& small,
                       FilledDatabase& large, int samples, bool changes) {
  std::mt19937 random(7);
  std::vector<double> small_s;
  std::vector<double> large_s;
  std::vector<int> order(kSmall);
  for (int i = 0; i < samples; ++i) {
    if (i % kWithdrawals == 0) {
      if (changes) {
        RETURN_IF_ERROR(small.Reset());
        RETURN_IF_ERROR(large.Reset());
        RETURN_IF_ERROR(Get(small, 0));
        RETURN_IF_ERROR(Get(large, 0));
      }
      for (int j = 0; j < kSmall; ++j) {
        order[static_cast<size_t>(j)] = j;
      }
      std::shuffle(order.begin(), order.end(), random);
    }
    const int contribution = order[static_cast<size_t>(i % kWithdrawals)];
    ASSIGN_OR_RETURN(const double one, Time(call, small, contribution));
    ASSIGN_OR_RETURN(const double other,
                     Time(call, large, contribution * (kLarge / kSmall)));
    small_s.push_back(one);
    large_s.push_back(other);
  }
  return Json{{"small_s", P99(small_s)}, {"large_s", P99(large_s)}};
}

Status Run(const std::filesystem::path& folder, int samples) {
  ASSIGN_OR_RETURN(const crypto::PrivateKey signer,
                   crypto::PrivateKey::Generate());
  ASSIGN_OR_RETURN(const auto small,
                   FilledDatabase::Create(folder / "small", kSmall, signer));
  ASSIGN_OR_RETURN(const auto large,
                   FilledDatabase::Create(folder / "large", kLarge, signer));
  Json result;
  ASSIGN_OR_RETURN(result["list"],
                   Compare(List, *small, *large, samples, false));
  ASSIGN_OR_RETURN(result["get"], Compare(Get, *small, *large, samples, false));
  ASSIGN_OR_RETURN(result["withdraw"],
                   Compare(Withdraw, *small, *large, samples, true));
  std::printf("%s\n", result.dump().c_str());
  return absl::OkStatus();
}

}  // namespace
}  // namespace tributary::benchmarks

int main(int argc, char** argv) {
  const int samples = argc > 2 ? std::atoi(argv[2]) : 400;
  if (argc < 2 || samples < 1) {
    std::fprintf(stderr,
                 "usage: tributary_benchmarks_storage FOLDER [SAMPLES]\n");
    return 2;
  }
  const absl::Status status = tributary::benchmarks::Run(argv[1], samples);
  if (!status.ok()) {
    std::fprintf(stderr, "%s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}

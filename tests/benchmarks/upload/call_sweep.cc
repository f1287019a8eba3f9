#include "tests/benchmarks/upload/call_sweep.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "common/rpc/channel.h"
#include "tests/benchmarks/upload/home.h"

namespace tributary::benchmarks {
namespace {

using Json = nlohmann::json;
using coordinator::Stubs;

constexpr int kSizes[] = {100, 1'000, 10'000};
constexpr uint64_t kBlobBytes = 1 << 16;
// Each withdrawal takes a contribution of its own from the smallest home.
constexpr int kWithdrawals = 90;

struct Side {
  int size;
  std::unique_ptr<BenchHome> home;
  std::unique_ptr<Stubs> stubs;
};

StatusOr<Side> MakeSide(int size) {
  Side side{.size = size};
  ASSIGN_OR_RETURN(side.home, BenchHome::Create(1, size, kBlobBytes));
  RETURN_IF_ERROR(side.home->StartServer());
  side.stubs = std::make_unique<Stubs>(
      rpc::CreateChannel(side.home->address(), side.home->owner(0).identity));
  return side;
}

// Numbers spread over all of them, each once.
std::string NameOf(const Side& side, int i) {
  const int number = i * (side.size / kSizes[0]) % side.size;
  return "contributions/" + BenchHome::Contribution(0, number);
}

Status List(const Side& side, int) {
  v1::ListContributionsRequest request;
  request.set_page_size(50);
  ASSIGN_OR_RETURN(
      const v1::ListContributionsResponse response,
      coordinator::Call<v1::ListContributionsResponse>(
          *side.stubs->contributions,
          &v1::ContributionService::Stub::ListContributions, request));
  return response.contributions_size() == 50 ? absl::OkStatus()
                                             : Internal("a short page");
}

Status Get(const Side& side, int i) {
  v1::GetContributionRequest request;
  request.set_name(NameOf(side, i % kSizes[0]));
  return coordinator::Call<v1::Contribution>(
             *side.stubs->contributions,
             &v1::ContributionService::Stub::GetContribution, request)
      .status();
}

Status Withdraw(const Side& side, int i) {
  v1::WithdrawContributionRequest request;
  request.set_request_id(RandomUuid());
  request.set_name(NameOf(side, i));
  return coordinator::Call<v1::Withdrawal>(
             *side.stubs->contributions,
             &v1::ContributionService::Stub::WithdrawContribution, request)
      .status();
}

double Quantile(std::vector<double> seconds, double quantile) {
  std::sort(seconds.begin(), seconds.end());
  return seconds[static_cast<size_t>(quantile *
                                     static_cast<double>(seconds.size() - 1))];
}

using Function = std::function<Status(const Side&, int)>;

StatusOr<Json> Compare(const std::vector<Side>& sides, const Function& call,
                       int samples) {
  std::vector<std::vector<double>> seconds(sides.size());
  for (int i = 0; i < samples; ++i) {
    for (size_t j = 0; j < sides.size(); ++j) {
      const double begin = SystemClock().MonotonicSeconds();
      RETURN_IF_ERROR(call(sides[j], i));
      seconds[j].push_back(SystemClock().MonotonicSeconds() - begin);
    }
  }
  Json result;
  for (size_t j = 0; j < sides.size(); ++j) {
    result[std::to_string(sides[j].size)] = {
        {"p50_s", Quantile(seconds[j], 0.5)},
        {"p99_s", Quantile(seconds[j], 0.99)}};
  }
  return result;
}

}  // namespace

StatusOr<Json> CallSweep(int samples) {
  std::vector<Side> sides;
  for (const int size : kSizes) {
    ASSIGN_OR_RETURN(Side side, MakeSide(size));
    sides.push_back(std::move(side));
  }
  // Connections, caches.
  RETURN_IF_ERROR(Compare(sides, List, samples / 10 + 1).status());
  RETURN_IF_ERROR(Compare(sides, Get, samples / 10 + 1).status());
  Json result;
  ASSIGN_OR_RETURN(result["list"], Compare(sides, List, samples));
  ASSIGN_OR_RETURN(result["get"], Compare(sides, Get, samples));
  ASSIGN_OR_RETURN(result["withdraw"],
                   Compare(sides, Withdraw, std::min(samples, kWithdrawals)));
  return result;
}

}  // namespace tributary::benchmarks

#include "coordinator/service/rate_limiter.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <vector>

namespace tributary::coordinator {
namespace {

constexpr std::string_view kIpv6Scheme = "ipv6:";
constexpr size_t kNetworkBytes = 8;
constexpr unsigned char kMappedPrefix[12] = {0, 0, 0, 0, 0,    0,
                                             0, 0, 0, 0, 0xff, 0xff};

void ReplaceAll(std::string& text, std::string_view from, char to) {
  for (size_t at = text.find(from); at != text.npos; at = text.find(from)) {
    text.replace(at, from.size(), 1, to);
  }
}

}  // namespace

RateLimiter::RateLimiter(const Options& options, const Clock& clock)
    : options_(options),
      clock_(clock),
      all_{options.all.burst, clock.MonotonicSeconds()} {}

void RateLimiter::Refill(Bucket& bucket, const Rate& rate, double now_s) const {
  const double elapsed = std::max(0.0, now_s - bucket.refilled_s);
  bucket.calls = std::min(rate.burst, bucket.calls + rate.per_second * elapsed);
  bucket.refilled_s = now_s;
}

void RateLimiter::MakeRoom(double now_s) {
  std::erase_if(sources_, [&](auto& item) {
    Bucket bucket = item.second;
    Refill(bucket, options_.each, now_s);
    return bucket.calls >= options_.each.burst;
  });
  if (sources_.size() < options_.max_sources) {
    return;
  }
  std::vector<double> times;
  times.reserve(sources_.size());
  for (const auto& [source, bucket] : sources_) {
    times.push_back(bucket.refilled_s);
  }
  const auto middle = times.begin() + static_cast<int64_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  std::erase_if(sources_, [&](const auto& item) {
    return item.second.refilled_s <= *middle;
  });
}

bool RateLimiter::Admit(const std::string& source) {
  const double now_s = clock_.MonotonicSeconds();
  const std::lock_guard<std::mutex> lock(mutex_);
  Refill(all_, options_.all, now_s);
  if (!sources_.contains(source) && sources_.size() >= options_.max_sources) {
    MakeRoom(now_s);
  }
  Bucket& bucket =
      sources_.try_emplace(source, Bucket{options_.each.burst, now_s})
          .first->second;
  Refill(bucket, options_.each, now_s);
  // A source over its own limit costs the others nothing.
  if (bucket.calls < 1 || all_.calls < 1) {
    return false;
  }
  bucket.calls -= 1;
  all_.calls -= 1;
  return true;
}

std::string SourceOf(std::string_view peer) {
  const size_t port = peer.rfind(':');
  std::string source(peer.substr(0, port));
  if (source.rfind(kIpv6Scheme, 0) != 0) {
    return source;
  }
  std::string host = source.substr(kIpv6Scheme.size());
  ReplaceAll(host, "%5B", '[');
  ReplaceAll(host, "%5D", ']');
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') {
    host = host.substr(1, host.size() - 2);
  }
  host = host.substr(0, host.find('%'));  // a zone
  unsigned char bytes[16];
  if (inet_pton(AF_INET6, host.c_str(), bytes) != 1) {
    return source;
  }
  if (std::memcmp(bytes, kMappedPrefix, sizeof(kMappedPrefix)) == 0) {
    return fmt::format("ipv4:{}.{}.{}.{}", bytes[12], bytes[13], bytes[14],
                       bytes[15]);
  }
  std::memset(bytes + kNetworkBytes, 0, sizeof(bytes) - kNetworkBytes);
  char text[INET6_ADDRSTRLEN] = {};
  inet_ntop(AF_INET6, bytes, text, sizeof(text));
  return fmt::format("ipv6:{}/64", text);
}

}  // namespace tributary::coordinator

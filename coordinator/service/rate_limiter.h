#pragma once

#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>

#include "common/base/clock.h"

namespace tributary::coordinator {

// How many calls may come.
struct Rate {
  double burst = 1;       // at once
  double per_second = 1;  // in the long run
};

// Bounds calls of every source by itself and of all together, so that one
// source cannot use up what the others need. Safe to use from any thread.
class RateLimiter {
 public:
  struct Options {
    Rate each;
    Rate all;
    // Sources that are remembered; with more, those that were silent longest
    // count as new.
    size_t max_sources = 4096;
  };
  // `clock` outlives it.
  RateLimiter(const Options& options, const Clock& clock);

  // Whether a call of `source` may go on now; counts it if so.
  bool Admit(const std::string& source);

 private:
  struct Bucket {
    double calls;  // that may come now
    double refilled_s;
  };
  void Refill(Bucket& bucket, const Rate& rate, double now_s) const;
  // Forgets what is full again, or else the longest silent ones.
  void MakeRoom(double now_s);

  const Options options_;
  const Clock& clock_;
  std::mutex mutex_;
  Bucket all_;                                       // guarded by mutex_
  std::unordered_map<std::string, Bucket> sources_;  // guarded by mutex_
};

// The address of a peer as gRPC names it ("ipv4:10.0.0.1:4711"), without its
// port. IPv6 addresses are cut to their network of 64 bits, which one owner
// has; IPv4 addresses inside IPv6 are those.
std::string SourceOf(std::string_view peer);

}  // namespace tributary::coordinator

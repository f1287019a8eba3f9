#include <algorithm>
#include <atomic>
#include <mutex>
#include <numeric>
#include <thread>

#include "contributor/client/blob_transfer.h"

namespace tributary::contributor {

Status TransferAll(
    const std::vector<uint64_t>& sizes,
    const std::function<Status(size_t, const TransferProgress&)>& transfer,
    const TransferProgress& progress) {
  const uint64_t total =
      std::accumulate(sizes.begin(), sizes.end(), uint64_t{0});
  std::atomic<size_t> next{0};
  std::mutex mutex;
  // Guarded by mutex.
  std::vector<uint64_t> done(sizes.size(), 0);
  Status first_error;
  const auto report = [&](size_t index, uint64_t bytes) {
    const std::lock_guard<std::mutex> lock(mutex);
    done[index] = bytes;
    if (progress) {
      progress(std::accumulate(done.begin(), done.end(), uint64_t{0}), total);
    }
  };
  const auto work = [&] {
    while (true) {
      const size_t index = next.fetch_add(1);
      if (index >= sizes.size()) {
        return;
      }
      const Status status = transfer(
          index,
          [&](uint64_t bytes, uint64_t /*of_blob*/) { report(index, bytes); });
      if (!status.ok()) {
        next.store(sizes.size());
        const std::lock_guard<std::mutex> lock(mutex);
        if (first_error.ok()) {
          first_error = status;
        }
        return;
      }
      report(index, sizes[index]);
    }
  };
  std::vector<std::thread> threads;
  const size_t wanted =
      std::min<size_t>(sizes.size(), static_cast<size_t>(kParallelTransfers));
  for (size_t i = 1; i < wanted; ++i) {
    threads.emplace_back(work);
  }
  work();
  for (std::thread& thread : threads) {
    thread.join();
  }
  return first_error;
}

}  // namespace tributary::contributor

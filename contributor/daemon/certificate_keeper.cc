#include "contributor/daemon/certificate_keeper.h"

#include <chrono>
#include <utility>

#include "common/base/log.h"

namespace tributary::contributor {

CertificateKeeper::CertificateKeeper(double interval_s,
                                     std::function<Status()> renew)
    : interval_s_(interval_s), renew_(std::move(renew)) {
  thread_ = std::thread([this] { Run(); });
}

CertificateKeeper::~CertificateKeeper() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void CertificateKeeper::Run() {
  std::string told;
  const auto interval = std::chrono::duration<double>(interval_s_);
  std::unique_lock<std::mutex> lock(mutex_);
  while (!wake_.wait_for(lock, interval, [this] { return stopping_; })) {
    lock.unlock();
    Status status;
    {
      const std::lock_guard<std::mutex> working(working_);
      status = renew_();
    }
    const std::string message(status.message());
    if (!status.ok() && message != told) {
      log::Warning("certificates: {}; it is tried again", message);
    }
    told = message;
    lock.lock();
  }
}

}  // namespace tributary::contributor

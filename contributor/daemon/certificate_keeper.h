#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "common/base/status.h"

namespace tributary::contributor {

// Looks after a home's certificates while something else takes hours: a round
// of training may outlast what is left of a certificate, and the operator who
// replaces the CA waits for everybody to have learned the new one. Connections
// follow the files that it replaces.
class CertificateKeeper {
 public:
  // Calls `renew` every `interval_s` seconds on a thread of its own, from the
  // first interval on. What it cannot do is logged once and tried again.
  CertificateKeeper(double interval_s, std::function<Status()> renew);
  // Ends the thread; waits for a call that is under way.
  ~CertificateKeeper();

  CertificateKeeper(const CertificateKeeper&) = delete;
  CertificateKeeper& operator=(const CertificateKeeper&) = delete;

  // While it is held no call begins: for whoever renews as well.
  std::unique_lock<std::mutex> Pause() {
    return std::unique_lock<std::mutex>(working_);
  }

 private:
  void Run();

  const double interval_s_;
  const std::function<Status()> renew_;
  std::mutex working_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stopping_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace tributary::contributor

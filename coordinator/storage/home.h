#pragma once

// Every name that the coordinator gives to a file.

#include <cstdint>
#include <filesystem>
#include <string>

namespace tributary::coordinator {

// The coordinator's folder; everything it owns lies below.
class Home {
 public:
  explicit Home(std::filesystem::path root)
      : root_(std::filesystem::absolute(root)) {}

  using Path = std::filesystem::path;
  const Path& root() const { return root_; }

  Path config() const { return root_ / "coordinator.textproto"; }
  Path database() const { return root_ / "state.sqlite"; }
  // Held by the one process that serves or changes this home.
  Path lock() const { return root_ / "lock"; }
  // host:port in use, while a server runs.
  Path address() const { return root_ / "address"; }
  static constexpr uint64_t kMaxAddressBytes = 1024;
  Path log() const { return root_ / "log"; }

  Path keys() const { return root_ / "keys"; }
  // `name`: ca, server, signer, operator.
  Path key(const std::string& name) const {
    return keys() / (name + ".key.pem");
  }
  Path certificate(const std::string& name) const {
    return keys() / (name + ".crt.pem");
  }

  Path blobs() const { return root_ / "blobs"; }
  Path uploads() const { return root_ / "uploads"; }

  // Working folders of background jobs.
  Path jobs() const { return root_ / "jobs"; }
  Path job(const std::string& id) const { return jobs() / id; }
  // An anchor as a loadable model directory.
  Path anchors() const { return root_ / "anchors"; }
  Path anchor(const std::string& digest) const { return anchors() / digest; }
  // A release as a native release directory.
  Path releases() const { return root_ / "releases"; }
  Path release(int64_t number) const {
    return releases() / std::to_string(number);
  }

 private:
  const Path root_;
};

}  // namespace tributary::coordinator

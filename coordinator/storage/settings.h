#pragma once

// The coordinator's configuration as the code below the service uses it: plain
// values, defaults filled in.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace tributary::coordinator {

// What experts look like; published with an anchor.
struct ExpertSettings {
  int64_t first_layer = 0;
  int64_t max_width = 0;  // 0: the anchor's FFN width
  int64_t top_k = 2;
  int64_t window_tokens = 256;
  int64_t windows_per_class = 12;
  int64_t heldout_windows = 16;
  int64_t sample_stride = 2;
};

// Limits of admission; 0 lets the worker take its default.
struct AdmissionSettings {
  double max_public_loss_increase = 0;
  double max_public_share = 0;
  double max_rms_ratio = 0;
  double max_absolute_ratio = 0;
  double max_row_norm = 0;
  double max_output_ratio = 0;
  double max_mean_output_ratio = 0;
  bool require_operator = false;
  // What passes with a number above this fraction of its limit waits for the
  // operator; 0: nothing does.
  double quarantine_above = 0;
};

struct QuotaSettings {
  uint64_t max_bytes = 8ull << 30;
  int64_t max_contributions = 16;
  uint64_t min_free_disk_bytes = 1ull << 30;
};

struct ReleaseSettings {
  bool build_on_accept = false;
  double max_public_loss_increase = 0.05;  // nats per token
};

// How releases route.
struct RoutingSettings {
  std::string mode = "discriminant";
  double ridge_lambda = 1e-3;  // of the mean diagonal element
  double ridge_temperature = 10;
  double ridge_max_condition = 1e12;
  double tuned_learning_rate = 2e-3;
  int tuned_epochs = 2;
  int tuned_windows_per_domain = 12;
  double tuned_load_balance = 0.01;
  double tuned_z_loss = 1e-3;
  uint64_t tuned_seed = 0;
};

struct WorkerSettings {
  int threads = 0;
  uint64_t memory_limit_bytes = 0;
  uint64_t cpu_limit_s = 0;
  uint64_t stall_limit_s = 0;
  std::filesystem::path compute_lock_file;
  std::filesystem::path executable;  // empty: beside this one
  std::string device;                // empty: cpu
};

// How the server runs.
struct ServerSettings {
  // host:port of plain HTTP for Prometheus; empty: none.
  std::string metrics_address;
  // Whether anybody with a certificate may list services and messages.
  bool reflection = false;
  // Open streams of one kind that one identity may have.
  int max_streams = 32;
};

struct Settings {
  std::string federation;
  std::string listen_address;
  std::vector<std::string> public_hosts;
  std::string public_address;  // empty: derived from hosts and port
  ExpertSettings experts;
  AdmissionSettings admission;
  QuotaSettings quotas;
  ReleaseSettings releases;
  RoutingSettings routing;
  WorkerSettings worker;
  ServerSettings server;
  int64_t purge_grace_s = 0;
};

// Largest expert file, bytes.
inline constexpr uint64_t kMaxExpertBytes = 1ull << 30;
// Unfinished uploads are kept this long after their last byte.
inline constexpr int64_t kUploadLifetimeS = 7 * 24 * 3600;

}  // namespace tributary::coordinator

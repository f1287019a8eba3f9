#include <sys/statvfs.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "common/base/text.h"
#include "contributor/budget/machine_memory.h"
#include "contributor/budget/training_memory.h"
#include "contributor/commands/commands.h"
#include "contributor/commands/common.h"
#include "contributor/pipeline/fingerprint.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;

// Certificates begin five minutes early; more than that breaks TLS.
constexpr double kMaxClockSkewSeconds = 120.0;

struct Check {
  std::string name;
  Status status;
  std::string detail;  // when it is fine
};

class Preflight {
 public:
  explicit Preflight(Session& session) : session_(session) {}

  std::vector<Check> Run() {
    CheckCertificate();
    CheckData();
    const bool reachable = CheckCoordinator();
    if (reachable) {
      CheckAnchor();
    }
    CheckDisk();
    CheckMemory();
    CheckWorker();
    return std::move(checks_);
  }

 private:
  void Add(const std::string& name, const Status& status,
           const std::string& detail) {
    checks_.push_back({name, status, detail});
  }

  void CheckCertificate() {
    const crypto::Certificate& certificate = session_.identity().certificate;
    const auto end = static_cast<double>(certificate.not_after_s());
    Add("certificate", CheckNotExpired(certificate, SystemClock()),
        "valid until " + FormatTime(end));
  }

  void CheckData() {
    std::vector<fs::path> paths;
    for (const auto& path : session_.config().data().train()) {
      paths.emplace_back(path);
    }
    for (const auto& path : session_.config().data().heldout()) {
      paths.emplace_back(path);
    }
    for (const auto& path : session_.config().data().public_heldout()) {
      paths.emplace_back(path);
    }
    Add("data", FingerprintPaths(paths).status(),
        fmt::format("{} paths are there", paths.size()));
  }

  // Round trip and clock of the other side, from its signed checkpoint.
  bool CheckCoordinator() {
    const double before = SystemClock().MonotonicSeconds();
    const StatusOr<v1::Checkpoint> answer = session_.client().GetCheckpoint(0);
    const double seconds = SystemClock().MonotonicSeconds() - before;
    Add("coordinator", answer.status(),
        fmt::format("{} answered in {:.0f} ms", session_.identity().address,
                    seconds * 1000));
    if (!answer.ok()) {
      return false;
    }
    const double skew = std::abs(static_cast<double>(answer->time_s()) -
                                 SystemClock().NowSeconds());
    Add("clock",
        skew <= kMaxClockSkewSeconds
            ? absl::OkStatus()
            : FailedPrecondition("the clocks differ by {:.0f} s, wanted at "
                                 "most {:.0f}; set this machine's clock",
                                 skew, kMaxClockSkewSeconds),
        fmt::format("differs by {:.0f} s", skew));
    return true;
  }

  void CheckAnchor() {
    const StatusOr<v1::Anchor> answer =
        session_.client().GetAnchor("anchors/current");
    if (!answer.ok()) {
      Add("anchor", answer.status(), "");
      return;
    }
    StatusOr<manifest::AnchorManifest> manifest = manifest::OpenAnchorManifest(
        answer->envelope_json(), session_.identity().signer.public_key());
    if (!manifest.ok()) {
      Add("anchor", manifest.status(), "");
      return;
    }
    for (const auto& file : manifest->files) {
      if (!session_.cache().Find(file.blob).ok()) {
        missing_bytes_ +=
            file.blob.size - session_.cache().PartialSize(file.blob);
      }
      anchor_bytes_ += file.blob.size;
    }
    const FetchedAnchor anchor = {.manifest = *std::move(manifest),
                                  .digest = answer->digest(),
                                  .directory = ""};
    const auto settings = ResolveSettings(session_.config(), FactsOf(anchor));
    if (settings.ok()) {
      shape_ = ShapeOf(anchor.manifest, *settings);
    }
    Add("anchor", settings.status(),
        fmt::format("{}: {} layers, FFN {}, {} to fetch", answer->name(),
                    anchor.manifest.model.num_layers,
                    anchor.manifest.model.intermediate_size,
                    HumanBytes(missing_bytes_)));
  }

  // The anchor once more for checkpoints, caches and a release.
  void CheckDisk() {
    struct statvfs info = {};
    if (statvfs(session_.home().root().c_str(), &info) != 0) {
      Add("disk", Internal("statvfs failed"), "");
      return;
    }
    const uint64_t free = static_cast<uint64_t>(info.f_bavail) * info.f_frsize;
    const uint64_t wanted = missing_bytes_ + 2 * anchor_bytes_ + (256ull << 20);
    Add("disk",
        free >= wanted
            ? absl::OkStatus()
            : ResourceExhausted("{} are free, wanted at least {}",
                                HumanBytes(free), HumanBytes(wanted)),
        HumanBytes(free) + " free");
  }

  // What training will need, by arithmetic, against what is there.
  void CheckMemory() {
    if (!shape_) {
      Add("memory", absl::OkStatus(), "unknown until the anchor is");
      return;
    }
    const AvailableMemory available = MemoryFor(0);
    Add("memory", CheckFits(*shape_, available.bytes, available.name),
        fmt::format("training needs about {}; {} has {}",
                    PredictTrainingMemory(*shape_).ToString(), available.name,
                    HumanBytes(static_cast<uint64_t>(available.bytes))));
  }

  // From the manifest alone: attention as wide as the model, as many windows as
  // the configuration allows.
  static TrainingShape ShapeOf(const manifest::AnchorManifest& anchor,
                               const Settings& settings) {
    const auto& model = anchor.model;
    const bool distils = settings.recipe == Recipe::kPruneAndDistil;
    TrainingShape shape = {
        .hidden = model.hidden_size,
        .num_layers = model.num_layers,
        .intermediate = model.intermediate_size,
        .vocabulary = model.vocab_size,
        .query_width = model.hidden_size,
        .kv_width = model.hidden_size,
        .first_layer = settings.first_layer,
        .window_tokens = settings.data.window_tokens(),
        .distils = distils,
        .train_windows = settings.data.max_train_windows(),
        .heldout_windows = settings.data.max_heldout_windows()};
    shape.widths.assign(model.num_layers, 0);
    for (int64_t l = settings.first_layer; l < model.num_layers; ++l) {
      // The teacher is the larger one.
      shape.widths[l] = distils ? model.intermediate_size : settings.width;
    }
    const job::Optimizer& optimizer = settings.optimizer;
    shape.windows_per_step = std::max(1, optimizer.windows_per_step());
    shape.windows_at_a_time =
        optimizer.micro_batch_windows() > 0
            ? std::min<int64_t>(optimizer.micro_batch_windows(),
                                shape.windows_per_step)
            : shape.windows_per_step;
    shape.recompute_activations = optimizer.recompute_activations();
    shape.frozen_element_bytes =
        optimizer.frozen_storage() == job::Optimizer::BFLOAT16 ? 2 : 4;
    return shape;
  }

  // The worker must find its sandbox closed.
  void CheckWorker() {
    const StatusOr<TemporaryDirectory> folder =
        TemporaryDirectory::Create("tributary-preflight");
    if (!folder.ok()) {
      Add("worker", folder.status(), "");
      return;
    }
    job::Job job;
    job.set_id("preflight");
    job.set_output_directory((folder->path() / "job").string());
    const fs::path key = session_.home().Identity() / kKeyFile;
    job.add_tasks()->mutable_probe()->add_read_paths(key.string());
    const StatusOr<job::Result> result =
        session_.Context(nullptr).worker.Run(job, nullptr);
    if (!result.ok()) {
      Add("worker", result.status(), "");
      return;
    }
    const job::ProbeResult& probe = result->tasks(0).probe();
    const bool open = probe.inet_socket() || probe.unix_socket() ||
                      probe.execute() || probe.readable_size() != 1 ||
                      probe.readable(0);
    Add("worker",
        open ? PermissionDenied("the sandbox is open: the worker could open a "
                                "socket, start a program or read the key")
             : absl::OkStatus(),
        "starts; no network, reads its inputs only");
  }

  Session& session_;
  std::vector<Check> checks_;
  uint64_t anchor_bytes_ = 0;
  uint64_t missing_bytes_ = 0;
  std::optional<TrainingShape> shape_;
};

Status RunPreflight(const cli::CommandContext& context,
                    const std::string& retry_for) {
  ASSIGN_OR_RETURN(const auto session, OpenSession(context, retry_for));
  const std::vector<Check> checks = Preflight(*session).Run();
  std::vector<std::vector<std::string>> rows = {{"check", "", "details"}};
  nlohmann::json values = nlohmann::json::array();
  Status failed;
  for (const Check& check : checks) {
    const bool ok = check.status.ok();
    const std::string detail =
        ok ? check.detail : std::string(check.status.message());
    rows.push_back({check.name, ok ? "ok" : "FAILED", detail});
    values.push_back({{"name", check.name}, {"ok", ok}, {"detail", detail}});
    if (!ok) {
      // The first fault gives the exit code, the message has all of them.
      failed = failed.ok() ? Annotate(check.status, "preflight: " + check.name)
                           : Status(failed.code(),
                                    std::string(failed.message()) + "; " +
                                        check.name + ": " + detail);
    }
  }
  if (failed.ok() || !context.output.json()) {
    context.output.Print(cli::FormatTable(rows),
                         {{"ok", failed.ok()}, {"checks", values}});
  }
  return failed;
}

}  // namespace

void AddPreflightCommand(cli::CommandLine& line) {
  auto retry_for = std::make_shared<std::string>(kShortRetry);
  CLI::App* command = line.AddCommand(
      line.app(), "preflight",
      "Check identity, data, coordinator, clock, anchor, disk, memory and "
      "worker before a run",
      [retry_for](const cli::CommandContext& context) {
        return RunPreflight(context, *retry_for);
      });
  DeclareRetry(*command, *retry_for);
}

}  // namespace tributary::contributor

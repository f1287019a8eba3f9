#include <sys/statvfs.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "contributor/budget/machine_memory.h"
#include "contributor/budget/training_memory.h"
#include "contributor/client/line_probe.h"
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
  // What the coordinator's operator may read: all of it, or, where it says
  // something about this site's files, only whether it passed.
  enum class Shared { kAll, kOutcome } shared = Shared::kAll;
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
      CheckLine();
    }
    CheckDisk();
    CheckMemory();
    CheckWorker();
    return std::move(checks_);
  }

  // Numbers that may be told to the coordinator's operator.
  const nlohmann::json& numbers() const { return numbers_; }
  // Facts about this site's own data.
  const nlohmann::json& confidential() const { return confidential_; }

 private:
  void Add(const std::string& name, const Status& status,
           const std::string& detail,
           Check::Shared shared = Check::Shared::kAll) {
    checks_.push_back({name, status, detail, shared});
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
    const DataSize size = SizeOf(paths);
    confidential_ = {{"paths", nlohmann::json::array()},
                     {"files", size.files},
                     {"bytes", size.bytes}};
    for (const fs::path& path : paths) {
      confidential_["paths"].push_back(path.string());
    }
    Add("data", FingerprintPaths(paths).status(),
        fmt::format("{} paths are there: {} files, {}", paths.size(),
                    size.files, HumanBytes(size.bytes)),
        Check::Shared::kOutcome);
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
    numbers_["clock_difference_s"] = skew;
    return true;
  }

  // How long the anchor takes to come and the expert to go.
  void CheckLine() {
    const StatusOr<LineRates> rates = MeasureLine(
        [this](int64_t up, int64_t down) {
          return session_.client().Probe(up, down);
        },
        SystemClock());
    if (absl::IsUnimplemented(rates.status())) {
      Add("line", absl::OkStatus(), "an older coordinator: not measured");
      return;
    }
    if (!rates.ok()) {
      Add("line", rates.status(), "");
      return;
    }
    const double fetch_s =
        static_cast<double>(missing_bytes_) / rates->down_bytes_per_s;
    const double upload_s =
        static_cast<double>(expert_bytes_) / rates->up_bytes_per_s;
    numbers_["round_trip_ms"] = rates->round_trip_s * 1000;
    numbers_["up_bytes_per_s"] = rates->up_bytes_per_s;
    numbers_["down_bytes_per_s"] = rates->down_bytes_per_s;
    numbers_["fetch_bytes"] = missing_bytes_;
    numbers_["fetch_s"] = fetch_s;
    numbers_["expert_bytes"] = expert_bytes_;
    numbers_["upload_s"] = upload_s;
    Add("line", absl::OkStatus(),
        fmt::format("{}/s up, {}/s down; to fetch {}: {:.0f} s; to upload an "
                    "expert of {}: {:.0f} s",
                    HumanBytes(static_cast<uint64_t>(rates->up_bytes_per_s)),
                    HumanBytes(static_cast<uint64_t>(rates->down_bytes_per_s)),
                    HumanBytes(missing_bytes_), std::ceil(fetch_s),
                    HumanBytes(expert_bytes_), std::ceil(upload_s)));
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
      expert_bytes_ = ExpertBytes(anchor.manifest, *settings);
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
    numbers_["disk_free_bytes"] = free;
    numbers_["disk_wanted_bytes"] = wanted;
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
    numbers_["memory_bytes"] = static_cast<uint64_t>(available.bytes);
  }

  // Three matrices in bfloat16 for each layer with channels, a row of the
  // router and its bias in 32 bits for every layer.
  static uint64_t ExpertBytes(const manifest::AnchorManifest& anchor,
                              const Settings& settings) {
    const auto& model = anchor.model;
    const int64_t layers = model.num_layers - settings.first_layer;
    return static_cast<uint64_t>(
        6 * settings.width * model.hidden_size * std::max<int64_t>(layers, 0) +
        4 * (model.hidden_size + 1) * model.num_layers);
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
      Add("worker", folder.status(), "", Check::Shared::kOutcome);
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
      Add("worker", result.status(), "", Check::Shared::kOutcome);
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
        "starts; no network, reads its inputs only", Check::Shared::kOutcome);
  }

  Session& session_;
  std::vector<Check> checks_;
  uint64_t anchor_bytes_ = 0;
  uint64_t missing_bytes_ = 0;
  uint64_t expert_bytes_ = 0;
  nlohmann::json numbers_ = nlohmann::json::object();
  nlohmann::json confidential_ = nlohmann::json::object();
  std::optional<TrainingShape> shape_;
};

struct PreflightOptions {
  std::string retry_for = kShortRetry;
  std::string report;
};

// What may be handed to the coordinator's operator.
nlohmann::json ShareablePart(const Session& session,
                             const std::vector<Check>& checks,
                             const nlohmann::json& numbers) {
  nlohmann::json values = nlohmann::json::array();
  for (const Check& check : checks) {
    nlohmann::json value = {{"name", check.name}, {"ok", check.status.ok()}};
    if (check.shared == Check::Shared::kAll) {
      value["detail"] = check.status.ok() ? check.detail
                                          : std::string(check.status.message());
    } else if (!check.status.ok()) {
      value["detail"] = absl::StatusCodeToString(check.status.code());
    }
    values.push_back(value);
  }
  return {{"contributor_id", session.identity().contributor_id},
          {"federation", session.identity().federation},
          {"checks", values},
          {"numbers", numbers}};
}

Status RunPreflight(const cli::CommandContext& context,
                    const PreflightOptions& options) {
  ASSIGN_OR_RETURN(const auto session, OpenSession(context, options.retry_for));
  Preflight preflight(*session);
  const std::vector<Check> checks = preflight.Run();
  const nlohmann::json shareable =
      ShareablePart(*session, checks, preflight.numbers());
  if (!options.report.empty()) {
    ASSIGN_OR_RETURN(const std::string text, DumpJson(shareable, 2));
    RETURN_IF_ERROR(WriteFileAtomic(options.report, text + "\n"));
  }
  std::vector<std::vector<std::string>> rows = {
      {"check", "", "for", "details"}};
  nlohmann::json values = nlohmann::json::array();
  Status failed;
  for (const Check& check : checks) {
    const bool ok = check.status.ok();
    const std::string detail =
        ok ? check.detail : std::string(check.status.message());
    rows.push_back(
        {check.name, ok ? "ok" : "FAILED",
         check.shared == Check::Shared::kAll ? "operator" : "this site",
         detail});
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
                         {{"ok", failed.ok()},
                          {"checks", values},
                          {"shareable", shareable},
                          {"confidential", preflight.confidential()}});
  }
  return failed;
}

}  // namespace

void AddPreflightCommand(cli::CommandLine& line) {
  auto options = std::make_shared<PreflightOptions>();
  CLI::App* command = line.AddCommand(
      line.app(), "preflight",
      "Check identity, data, coordinator, clock, anchor, line, disk, memory "
      "and worker before a run",
      [options](const cli::CommandContext& context) {
        return RunPreflight(context, *options);
      });
  command->add_option("--report", options->report,
                      "Write what the coordinator's operator may read to this "
                      "file: numbers, nothing about the data");
  DeclareRetry(*command, options->retry_for);
}

}  // namespace tributary::contributor

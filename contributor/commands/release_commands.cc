#include <memory>

#include "common/base/text.h"
#include "contributor/client/copies.h"
#include "contributor/commands/commands.h"
#include "contributor/commands/common.h"

namespace tributary::contributor {
namespace {

namespace fs = std::filesystem;

struct ReleaseOptions {
  std::string name = "latest";
  std::string output;
  std::string retry_for = kShortRetry;
};

// An existing folder is replaced only when it is a release, or empty.
Status CheckReplaceable(const fs::path& directory) {
  std::error_code error;
  if (!fs::exists(directory, error) ||
      fs::exists(directory / "release.dsse.json", error) ||
      (fs::is_directory(directory, error) && fs::is_empty(directory, error))) {
    return absl::OkStatus();
  }
  return FailedPrecondition(
      "--output: {} is there and is not a release; choose another folder",
      directory.string());
}

Status MarkCopies(const cli::CommandContext& context, Session& session) {
  ASSIGN_OR_RETURN(const std::vector<v1::Release> releases,
                   session.client().ListReleases());
  ASSIGN_OR_RETURN(const std::vector<fs::path> marked,
                   MarkWithdrawnCopies(session.home(), releases));
  for (const fs::path& copy : marked) {
    context.output.Note(copy.string() +
                        " holds a withdrawn release and was marked");
  }
  return absl::OkStatus();
}

Status Fetch(const cli::CommandContext& context,
             const ReleaseOptions& options) {
  ASSIGN_OR_RETURN(const auto session, OpenSession(context, options.retry_for));
  std::error_code error;
  const fs::path output =
      fs::absolute(options.output, error).lexically_normal();
  const fs::path target = output.has_filename() ? output : output.parent_path();
  RETURN_IF_ERROR(CheckReplaceable(target));
  RETURN_IF_ERROR(session->FollowTrust().status());
  RETURN_IF_ERROR(MarkCopies(context, *session));
  cli::ProgressBar bar(context.output);
  const std::string name = options.name.rfind("releases/", 0) == 0
                               ? options.name
                               : "releases/" + options.name;
  const auto fetch = [&] {
    return FetchRelease(
        {.client = session->client(),
         .identity = session->identity(),
         .cache = session->cache(),
         .clock = SystemClock(),
         .progress =
             [&](uint64_t done, uint64_t total) {
               bar.Update(
                   "fetch",
                   static_cast<double>(done) / static_cast<double>(total),
                   HumanBytes(done) + " of " + HumanBytes(total));
             }},
        name, [&](int64_t /*number*/) { return target; });
  };
  StatusOr<FetchedRelease> fetched = fetch();
  if (session->LearnedTrustAfter(fetched.status())) {
    fetched = fetch();
  }
  ASSIGN_OR_RETURN(const FetchedRelease release, std::move(fetched));
  RETURN_IF_ERROR(RecordCopy(session->home(), release.name, target));
  nlohmann::json experts = nlohmann::json::array();
  for (const auto& expert : release.manifest.experts) {
    experts.push_back({{"contribution", expert.contribution},
                       {"contributor", expert.contributor},
                       {"sha256", expert.blob.sha256},
                       {"size_bytes", expert.blob.size}});
  }
  nlohmann::json value = ToJson(release.resource);
  value["directory"] = target.string();
  value["experts"] = experts;
  context.output.Print(
      fmt::format("{} with {} experts, signature and digests verified: {}",
                  release.name, release.manifest.experts.size(),
                  target.string()),
      value);
  return absl::OkStatus();
}

Status List(const cli::CommandContext& context, const ReleaseOptions& options) {
  ASSIGN_OR_RETURN(const auto session, OpenSession(context, options.retry_for));
  ASSIGN_OR_RETURN(const std::vector<v1::Release> releases,
                   session->client().ListReleases());
  RETURN_IF_ERROR(MarkWithdrawnCopies(session->home(), releases).status());
  std::vector<std::vector<std::string>> rows = {
      {"name", "state", "digest", "created"}};
  nlohmann::json values = nlohmann::json::array();
  for (const v1::Release& release : releases) {
    rows.push_back({release.name(), v1::Release::State_Name(release.state()),
                    release.digest().substr(0, 16),
                    FormatTime(static_cast<double>(release.create_time_s()))});
    values.push_back(ToJson(release));
  }
  context.output.Print(cli::FormatTable(rows), {{"releases", values}});
  return absl::OkStatus();
}

}  // namespace

void AddReleaseCommands(cli::CommandLine& line) {
  auto options = std::make_shared<ReleaseOptions>();
  CLI::App& group = *line.AddGroup("release", "Published merges");
  CLI::App* fetch = line.AddCommand(
      group, "fetch",
      "Download a release, verify signature and digests, and write it as a "
      "directory that --model loads",
      [options](const cli::CommandContext& context) {
        return Fetch(context, *options);
      });
  fetch->add_option("name", options->name, "Number of a release, or latest")
      ->capture_default_str();
  fetch->add_option("--output", options->output, "Directory to write")
      ->required();
  DeclareRetry(*fetch, options->retry_for);
  CLI::App* list =
      line.AddCommand(group, "list", "Releases, newest first",
                      [options](const cli::CommandContext& context) {
                        return List(context, *options);
                      });
  DeclareRetry(*list, options->retry_for);
}

}  // namespace tributary::contributor

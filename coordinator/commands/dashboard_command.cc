#include "coordinator/commands/dashboard_command.h"

#include <chrono>
#include <memory>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/message_json.h"
#include "coordinator/commands/secret_file.h"
#include "coordinator/gateway/api_error.h"
#include "coordinator/gateway/http_server.h"
#include "coordinator/report/dashboard_page.h"

namespace tributary::coordinator {
namespace {

constexpr std::chrono::milliseconds kDashboardPoll(100);
constexpr int kShown = 100;
constexpr size_t kPasswordBytes = 16;
// Many readers ask the server no more often than this.
constexpr double kFreshSeconds = 2;

struct ServeDashboardOptions {
  std::string listen = "127.0.0.1:8081";
  std::string key_file;
  int refresh_s = 10;
};

std::string StateName(const std::string& name) { return ShortEnumName(name); }

void AddStatus(const v1::GetStatusResponse& status, DashboardFacts& facts) {
  facts.federation = status.federation();
  facts.version = status.version();
  facts.time_s = status.time_s();
  facts.contributors = status.contributors();
  facts.accepted = status.accepted_contributions();
  facts.latest_release = status.latest_release();
  facts.blob_bytes = status.blob_bytes();
  facts.audit_records = status.audit_records();
  facts.audit_head_hash = status.audit_head_hash();
  facts.missing_blobs.assign(status.missing_blobs().begin(),
                             status.missing_blobs().end());
  for (const v1::Job& job : status.jobs()) {
    facts.jobs.push_back(
        {job.kind(), job.subject(), job.state(), job.attempts()});
  }
  for (const v1::UploadProgress& upload : status.uploads()) {
    facts.uploads.push_back({upload.contribution(), upload.size_bytes(),
                             upload.committed_bytes(), upload.expire_time_s()});
  }
}

// Asks a running server for everything that is shown.
StatusOr<DashboardFacts> Gather(AdminClient& client) {
  DashboardFacts facts;
  ASSIGN_OR_RETURN(
      const v1::GetStatusResponse status,
      client.Call(client.admin(), &v1::AdminService::Stub::GetStatus,
                  v1::GetStatusRequest()));
  AddStatus(status, facts);
  v1::ListAllContributionsRequest contributions;
  contributions.set_page_size(kShown);
  ASSIGN_OR_RETURN(
      const v1::ListContributionsResponse listed,
      client.Call(client.admin(), &v1::AdminService::Stub::ListAllContributions,
                  contributions));
  for (const v1::Contribution& row : listed.contributions()) {
    facts.contributions.push_back(
        {row.name(), row.contributor(),
         StateName(v1::Contribution::State_Name(row.state())),
         row.decision().reason(), row.update_time_s()});
  }
  v1::ListReleasesRequest releases;
  releases.set_page_size(kShown);
  ASSIGN_OR_RETURN(
      const v1::ListReleasesResponse made,
      client.Call(client.releases(), &v1::ReleaseService::Stub::ListReleases,
                  releases));
  for (const v1::Release& row : made.releases()) {
    facts.releases.push_back({row.name(),
                              StateName(v1::Release::State_Name(row.state())),
                              row.digest(), row.reason(), row.create_time_s()});
  }
  v1::ListWithdrawalsRequest withdrawals;
  withdrawals.set_page_size(kShown);
  ASSIGN_OR_RETURN(
      const v1::ListWithdrawalsResponse asked,
      client.Call(client.admin(), &v1::AdminService::Stub::ListWithdrawals,
                  withdrawals));
  for (const v1::Withdrawal& row : asked.withdrawals()) {
    facts.withdrawals.push_back(
        {row.name(), row.contribution(),
         StateName(v1::Withdrawal::State_Name(row.state())),
         row.create_time_s()});
  }
  facts.shortened = !listed.next_page_token().empty() ||
                    !made.next_page_token().empty() ||
                    !asked.next_page_token().empty();
  return facts;
}

// The server's state, asked for at most every few seconds; what was last known
// while the server does not answer.
class LiveState {
 public:
  explicit LiveState(std::filesystem::path home) : home_(std::move(home)) {}

  // The facts and what is wrong with them.
  std::pair<DashboardFacts, std::string> Read() {
    const std::lock_guard lock(mutex_);
    const double now = SystemClock().MonotonicSeconds();
    if (!read_s_ || now - *read_s_ > kFreshSeconds) {
      read_s_ = now;
      const Status status = Refresh();
      problem_ = status.ok() ? "" : std::string(status.message());
    }
    return {facts_, problem_};
  }

 private:
  Status Refresh() {
    if (client_ == nullptr) {
      ASSIGN_OR_RETURN(client_, AdminClient::Connect(home_));
    }
    StatusOr<DashboardFacts> facts = Gather(*client_);
    if (!facts.ok()) {
      client_.reset();  // it may listen elsewhere next time
      return facts.status();
    }
    facts_ = *std::move(facts);
    return absl::OkStatus();
  }

  const std::filesystem::path home_;
  std::mutex mutex_;
  std::unique_ptr<AdminClient> client_;
  DashboardFacts facts_;
  std::string problem_;
  std::optional<double> read_s_;
};

Json StateJson(const DashboardFacts& facts, const std::string& problem) {
  Json state = {{"federation", facts.federation},
                {"time_s", facts.time_s},
                {"problem", problem},
                {"contributors", facts.contributors},
                {"accepted", facts.accepted},
                {"latest_release", facts.latest_release},
                {"blob_bytes", facts.blob_bytes},
                {"audit_records", facts.audit_records},
                {"audit_head_hash", facts.audit_head_hash},
                {"missing_blobs", facts.missing_blobs},
                {"contributions", Json::array()},
                {"uploads", Json::array()},
                {"jobs", Json::array()},
                {"releases", Json::array()}};
  for (const auto& row : facts.contributions) {
    state["contributions"].push_back({{"name", row.name},
                                      {"contributor", row.contributor},
                                      {"state", row.state}});
  }
  for (const auto& row : facts.uploads) {
    state["uploads"].push_back({{"contribution", row.contribution},
                                {"size_bytes", row.size_bytes},
                                {"committed_bytes", row.committed_bytes}});
  }
  for (const auto& row : facts.jobs) {
    state["jobs"].push_back(
        {{"kind", row.kind}, {"subject", row.subject}, {"state", row.state}});
  }
  for (const auto& row : facts.releases) {
    state["releases"].push_back(
        {{"name", row.name}, {"state", row.state}, {"digest", row.digest}});
  }
  return state;
}

HttpResponse Answer(const HttpRequest& request, LiveState& live,
                    int64_t refresh_s) {
  const bool still = request.path == "/still";
  if (request.method != "GET" ||
      (request.path != "/" && !still && request.path != "/state.json")) {
    return {.status = 404, .type = "text/plain", .body = "no such page\n"};
  }
  const auto [facts, problem] = live.Read();
  HttpResponse response{.status = problem.empty() ? 200 : 503};
  if (request.path == "/state.json") {
    response.body = ToText(StateJson(facts, problem));
    return response;
  }
  response.type = "text/html; charset=utf-8";
  response.body = DashboardPage(
      facts, {.refresh_s = still ? 0 : refresh_s, .problem = problem});
  if (!still) {
    response.headers.emplace_back("Refresh", std::to_string(refresh_s));
  }
  return response;
}

Status ServeDashboard(const ServeDashboardOptions& options,
                      const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto listen, ParseListenAddress(options.listen));
  ASSIGN_OR_RETURN(std::string key, ReadSecretFile(options.key_file));
  const bool made = key.empty();
  if (made && !IsLoopback(listen.first)) {
    return FailedPrecondition(
        "--listen {} is open to other machines: give --password-file, and put "
        "a proxy with TLS in front",
        options.listen);
  }
  if (made) {
    key = ToHex(RandomBytes(kPasswordBytes));
  }
  LiveState live(context.home);
  HttpServerOptions http{.host = listen.first,
                         .port = listen.second,
                         .key = key,
                         .scheme = "Basic",
                         .max_body_bytes = 1024,
                         .max_connections = 8};
  http.headers = {{"Cache-Control", "no-store"},
                  {"Referrer-Policy", "no-referrer"},
                  {"X-Content-Type-Options", "nosniff"},
                  {"X-Frame-Options", "DENY"}};
  ASSIGN_OR_RETURN(
      const std::unique_ptr<HttpServer> server,
      HttpServer::Start(std::move(http), [&](const HttpRequest& request) {
        return Answer(request, live, options.refresh_s);
      }));
  const std::string url = "http://" + server->address() + "/";
  context.output.Print(
      made ? fmt::format("open {} with any user name and the password {}", url,
                         key)
           : fmt::format("open {} with any user name and the password of {}",
                         url, options.key_file),
      made ? Json{{"url", url}, {"password", key}} : Json{{"url", url}});
  while (!context.cancellation.IsCancelled()) {
    std::this_thread::sleep_for(kDashboardPoll);
  }
  log::Info("stopped");
  return absl::OkStatus();
}

}  // namespace

void AddDashboardCommand(cli::CommandLine& command_line) {
  auto options = std::make_shared<ServeDashboardOptions>();
  CLI::App* command = command_line.AddCommand(
      command_line.app(), "dashboard",
      "Show the running server's state in a browser, until SIGTERM or Ctrl-C",
      [options](const cli::CommandContext& context) {
        return ServeDashboard(*options, context);
      });
  command->add_option("--listen", options->listen, "Address and port; 0: any")
      ->capture_default_str();
  command->add_option("--password-file", options->key_file,
                      "File with the password (default: a new one, printed)");
  command
      ->add_option("--refresh", options->refresh_s, "Seconds between refreshes")
      ->check(CLI::Range(2, 3600))
      ->capture_default_str();
}

}  // namespace tributary::coordinator

#include "coordinator/commands/model_serve_command.h"

#include <signal.h>

#include <chrono>
#include <memory>
#include <thread>

#include "common/base/clock.h"
#include "common/base/files.h"
#include "common/base/log.h"
#include "common/base/random.h"
#include "common/cli/model_options.h"
#include "common/jobs/run_job.h"
#include "coordinator/commands/release_lookup.h"
#include "coordinator/commands/secret_file.h"
#include "coordinator/gateway/gateway.h"
#include "coordinator/merge/release_directory.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

constexpr std::chrono::milliseconds kServeModelPoll(50);
// Beside the requests that are answered: for those that are refused, and for
// health and metrics.
constexpr int64_t kSpareConnections = 16;
// For telling requests that they fail.
constexpr double kTellSeconds = 10;

struct ServeModelOptions : cli::ModelOptions {
  std::string release;
  std::string name;
  std::string listen = "127.0.0.1:8000";
  std::string key_file;
  int64_t max_requests = 64;
  int64_t max_tokens = 2048;
  int64_t max_body_bytes = 8 << 20;
  int max_sequences = 16;
  int64_t cache_tokens = 16384;
  int max_context = 0;
  double timeout_s = 600;
  double drain_s = 30;
};

// The worker's job. `options.model` names a folder or, with --release, is
// filled in.
StatusOr<job::Job> MakeJob(ServeModelOptions& options,
                           const cli::CommandContext& context,
                           const fs::path& folder) {
  if (options.model.empty() && options.release.empty()) {
    return InvalidArgument("wanted --model DIR or --release NAME");
  }
  std::error_code error;
  const bool release =
      !options.release.empty() ||
      fs::is_regular_file(ReleaseDirectory(options.model).manifest(), error);
  if (release) {
    ASSIGN_OR_RETURN(
        const FoundRelease found,
        FindServedRelease(Home(context.home), options.release.empty()
                                                  ? options.model
                                                  : options.release));
    options.model = found.folder.string();
  }
  job::Job job;
  job.set_id("serve-" + RandomUuid().substr(0, 8));
  job.set_output_directory(folder.string());
  job.set_threads(options.threads);
  job.set_device(options.device);
  job::ModelServe& task = *job.add_tasks()->mutable_model_serve();
  std::vector<fs::path> read_paths;
  RETURN_IF_ERROR(
      cli::FillModelSource(options, task.mutable_model(), &read_paths));
  for (const fs::path& path : read_paths) {
    job.add_read_paths(path.string());
  }
  task.set_max_sequences(options.max_sequences);
  task.set_cache_tokens(options.cache_tokens);
  task.set_max_context(options.max_context);
  return job;
}

Status ServeModel(ServeModelOptions options, const std::string& worker_name,
                  const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto listen, ParseListenAddress(options.listen));
  ASSIGN_OR_RETURN(const std::string key, ReadSecretFile(options.key_file));
  if (key.empty() && !IsLoopback(listen.first)) {
    return FailedPrecondition(
        "--listen {} is open to other machines: give --api-key-file, and put a "
        "proxy with TLS in front",
        options.listen);
  }
  ASSIGN_OR_RETURN(const TemporaryDirectory folder,
                   TemporaryDirectory::Create("tributary-serve"));
  ModelWorker::Options worker_options;
  ASSIGN_OR_RETURN(worker_options.executable,
                   jobs::SiblingExecutable(worker_name));
  ASSIGN_OR_RETURN(worker_options.job,
                   MakeJob(options, context, folder.path()));
  signal(SIGPIPE, SIG_IGN);  // a worker that ends is an error of a write
  ModelWorker worker(std::move(worker_options));
  log::Info("loading {}", options.model);
  RETURN_IF_ERROR(worker.WaitUntilReady(context.cancellation));

  GatewayOptions gateway_options{
      .model = options.name.empty()
                   ? fs::path(options.model).lexically_normal().filename()
                   : fs::path(options.name),
      .max_requests = options.max_requests,
      .timeout_s = options.timeout_s};
  gateway_options.limits.max_tokens = options.max_tokens;
  gateway_options.limits.max_choices = options.max_sequences;
  const std::string name = gateway_options.model;
  Gateway gateway(std::move(gateway_options), worker);
  HttpServerOptions http{
      .host = listen.first,
      .port = listen.second,
      .key = key,
      .open_paths = {"/health"},
      .max_body_bytes = static_cast<size_t>(options.max_body_bytes),
      .max_connections =
          static_cast<int>(options.max_requests + kSpareConnections)};
  http.refuse = [](int status, const std::string& message) {
    return ErrorResponse({.status = status,
                          .message = message,
                          .code = status == 401 ? "invalid_api_key" : ""});
  };
  ASSIGN_OR_RETURN(
      std::unique_ptr<HttpServer> server,
      HttpServer::Start(std::move(http), [&](const HttpRequest& request) {
        return gateway.Handle(request);
      }));
  context.output.Print(
      fmt::format("serving {} on http://{}", name, server->address()),
      {{"model", name}, {"url", "http://" + server->address()}});
  while (!context.cancellation.IsCancelled()) {
    std::this_thread::sleep_for(kServeModelPoll);
  }
  log::Info("draining {} requests", gateway.in_flight());
  gateway.Drain();
  const double end = SystemClock().MonotonicSeconds() + options.drain_s;
  while (gateway.in_flight() > 0 && SystemClock().MonotonicSeconds() < end) {
    std::this_thread::sleep_for(kServeModelPoll);
  }
  // What is left fails, and is told so: its worker ends.
  worker.Stop(gateway.in_flight() > 0 ? 0 : options.drain_s);
  const double told = SystemClock().MonotonicSeconds() + kTellSeconds;
  while (gateway.in_flight() > 0 && SystemClock().MonotonicSeconds() < told) {
    std::this_thread::sleep_for(kServeModelPoll);
  }
  server.reset();
  log::Info("stopped");
  return absl::OkStatus();
}

}  // namespace

void AddModelServeCommand(cli::CommandLine& command_line, CLI::App& model,
                          const std::string& worker_name) {
  auto options = std::make_shared<ServeModelOptions>();
  CLI::App* command = command_line.AddCommand(
      model, "serve", "Answer requests of OpenAI's API until SIGTERM or Ctrl-C",
      [options, worker_name](const cli::CommandContext& context) {
        return ServeModel(*options, worker_name, context);
      });
  CLI::Option* directory = cli::DeclareModelOptions(command, *options);
  directory->required(false);
  CLI::Option* release = command->add_option(
      "--release", options->release,
      "A release of this home instead of --model: a number, or latest");
  release->excludes(directory);
  directory->excludes(release);
  command->add_option("--name", options->name,
                      "The model's name in the API (default: its folder's)");
  command->add_option("--listen", options->listen, "Address and port; 0: any")
      ->capture_default_str();
  command->add_option("--api-key-file", options->key_file,
                      "File with the key that callers must send");
  const auto bounded = [command](const char* name, auto& value,
                                 const char* description, int64_t least,
                                 int64_t most) {
    command->add_option(name, value, description)
        ->check(CLI::Range(least, most))
        ->capture_default_str();
  };
  bounded("--max-requests", options->max_requests,
          "Requests that are answered at a time", 1, 4096);
  bounded("--max-tokens", options->max_tokens,
          "Most tokens that a choice may ask for", 1, 1 << 20);
  bounded("--max-body-bytes", options->max_body_bytes,
          "Most bytes of a request", 1024, 64 << 20);
  bounded("--max-sequences", options->max_sequences,
          "Choices that are continued together", 1, 256);
  bounded("--cache-tokens", options->cache_tokens,
          "Positions that their keys and values may take", 16, 1 << 24);
  bounded("--max-context", options->max_context,
          "Most positions of a choice with its prompt; 0: the model's own", 0,
          1 << 20);
  command
      ->add_option("--timeout", options->timeout_s,
                   "Seconds after which a request that nothing happens to "
                   "fails")
      ->check(CLI::Range(1.0, 86400.0))
      ->capture_default_str();
  command
      ->add_option("--drain", options->drain_s,
                   "Seconds that running requests get after SIGTERM")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
}

}  // namespace tributary::coordinator

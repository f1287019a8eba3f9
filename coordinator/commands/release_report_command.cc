#include "coordinator/commands/release_report_command.h"

#include <memory>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "common/cli/worker_call.h"
#include "common/crypto/certificate.h"
#include "coordinator/commands/release_lookup.h"
#include "coordinator/merge/release_directory.h"
#include "coordinator/report/analysis_pictures.h"
#include "coordinator/report/release_page.h"

namespace tributary::coordinator {
namespace fs = std::filesystem;
namespace {

constexpr JsonLimits kAnalysisLimits = {.max_bytes = 512u << 20,
                                        .max_depth = 32};

// Texts to run a model on.
struct TextOptions {
  std::vector<std::string> texts;  // DOMAIN=PATH
  std::string reference;
  int window_tokens = 256;
  int max_windows = 64;
  int min_count = 10;
  int node_groups = 0;
  int node_limit = 1;
  int threads = 0;
};

void DeclareTexts(CLI::App* command, TextOptions& options) {
  command->add_option("--text", options.texts,
                      "DOMAIN=PATH of text files or folders (repeatable)");
  command->add_option("--reference", options.reference,
                      "Another release or mixture, for router saturation");
  command
      ->add_option("--window-tokens", options.window_tokens,
                   "Tokens per window of text")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--max-windows", options.max_windows,
                   "At most this many windows of each domain")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--min-count", options.min_count,
                   "Vocabulary: ids that occur at least so often")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      ->add_option("--node-groups", options.node_groups,
                   "Simulate the experts on so many nodes, neighbours together")
      ->check(CLI::PositiveNumber);
  command
      ->add_option("--node-limit", options.node_limit,
                   "With --node-groups: nodes that a token may choose from")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_option("--threads", options.threads,
                      "Compute threads (default: all cores)");
}

Status AddDomains(const TextOptions& options, job::AnalyseRouting* task,
                  cli::WorkerCall* call) {
  std::map<std::string, job::TextClass*> domains;
  for (const std::string& text : options.texts) {
    const size_t equals = text.find('=');
    if (equals == 0 || equals == std::string::npos) {
      return InvalidArgument("--text: got '{}', wanted DOMAIN=PATH", text);
    }
    ASSIGN_OR_RETURN(const fs::path path,
                     cli::ExistingPath(text.substr(equals + 1), "--text"));
    job::TextClass*& domain = domains[text.substr(0, equals)];
    if (domain == nullptr) {
      domain = task->add_domains();
      domain->set_name(text.substr(0, equals));
    }
    domain->add_paths(path.string());
    call->read_paths.push_back(path);
  }
  return absl::OkStatus();
}

StatusOr<Json> ReadJson(const fs::path& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  return ParseJson(text, kAnalysisLimits);
}

// Runs the worker; its analysis lies at `file` afterwards.
StatusOr<Json> Analyse(const fs::path& model, const TextOptions& options,
                       const fs::path& file, const std::string& worker,
                       const cli::CommandContext& context) {
  cli::WorkerCall call = {.worker_name = worker};
  auto* task = call.task.mutable_analyse_routing();
  task->mutable_model()->set_directory(model.string());
  call.read_paths.push_back(model);
  RETURN_IF_ERROR(AddDomains(options, task, &call));
  if (!options.reference.empty()) {
    ASSIGN_OR_RETURN(const fs::path reference,
                     cli::ExistingPath(options.reference, "--reference"));
    task->mutable_reference()->set_directory(reference.string());
    call.read_paths.push_back(reference);
  }
  task->set_window_tokens(options.window_tokens);
  task->set_max_windows(options.max_windows);
  task->set_min_token_count(options.min_count);
  task->set_node_groups(options.node_groups);
  task->set_node_limit(options.node_limit);
  call.threads = options.threads;
  call.output_name = "analysis.json";
  call.output_file = file;
  RETURN_IF_ERROR(CallWorker(call, context).status());
  return ReadJson(file);
}

struct ReportOptions : TextOptions {
  std::string name = "latest";
  std::string output;
  std::string analysis;
  std::string comparison;
  std::string signer;
};

// Checks signatures and digests where the signer's certificate is at hand.
Status Verify(const ReportOptions& options, const FoundRelease& found,
              const cli::CommandContext& context, ReleaseFacts& facts) {
  const fs::path path = options.signer.empty()
                            ? Home(context.home).certificate("signer")
                            : fs::path(options.signer);
  std::error_code error;
  if (!fs::exists(path, error) && options.signer.empty()) {
    facts.unverified.push_back(
        "signatures and digests: no signer's certificate was at hand");
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const crypto::Certificate certificate,
                   crypto::Certificate::Load(path));
  ASSIGN_OR_RETURN(const VerifiedRelease verified,
                   VerifyRelease(found.folder, certificate.public_key()));
  facts.verified.push_back(
      "The signer's certificate of the federation verifies the statement of " +
      verified.statement.release + ".");
  facts.verified.push_back(
      fmt::format("{} files, {}, have the digests that "
                  "the manifests name.",
                  verified.files, HumanBytes(verified.bytes)));
  facts.unverified = verified.unchecked;
  facts.unverified.push_back(
      "the owners' signatures: they were verified when the experts were "
      "offered");
  return absl::OkStatus();
}

StatusOr<std::optional<Json>> AnalysisFor(const ReportOptions& options,
                                          const FoundRelease& found,
                                          const std::string& worker,
                                          const cli::CommandContext& context) {
  if (!options.analysis.empty()) {
    ASSIGN_OR_RETURN(fs::path path,
                     cli::ExistingPath(options.analysis, "--analysis"));
    if (fs::is_directory(path)) {
      path /= "analysis.json";
    }
    ASSIGN_OR_RETURN(Json analysis, ReadJson(path));
    return std::optional<Json>(std::move(analysis));
  }
  if (options.texts.empty()) {
    return std::optional<Json>();
  }
  ASSIGN_OR_RETURN(const TemporaryDirectory folder,
                   TemporaryDirectory::Create("tributary-report"));
  ASSIGN_OR_RETURN(Json analysis,
                   Analyse(found.folder, options,
                           folder.path() / "analysis.json", worker, context));
  return std::optional<Json>(std::move(analysis));
}

Status ReportCommand(const ReportOptions& options, const std::string& worker,
                     const cli::CommandContext& context) {
  const Home home(context.home);
  ASSIGN_OR_RETURN(const FoundRelease found,
                   FindServedRelease(home, options.name));
  ASSIGN_OR_RETURN(ReleaseFacts facts, ReadReleaseFacts(found.folder));
  if (found.number) {
    RETURN_IF_ERROR(AddHomeFacts(home, *found.number, facts));
  }
  RETURN_IF_ERROR(Verify(options, found, context, facts));
  ASSIGN_OR_RETURN(const std::optional<Json> analysis,
                   AnalysisFor(options, found, worker, context));
  std::optional<Json> comparison;
  if (!options.comparison.empty()) {
    ASSIGN_OR_RETURN(const fs::path path,
                     cli::ExistingPath(options.comparison, "--comparison"));
    ASSIGN_OR_RETURN(comparison, ReadJson(path));
  }
  ASSIGN_OR_RETURN(const std::string page,
                   ReleasePage(facts, analysis ? &*analysis : nullptr,
                               comparison ? &*comparison : nullptr));
  const fs::path output = fs::absolute(options.output).lexically_normal();
  RETURN_IF_ERROR(WriteFileAtomic(output, page));
  context.output.Print(
      fmt::format("wrote {}, {}", output.string(), HumanBytes(page.size())),
      {{"output", output.string()},
       {"release", facts.name()},
       {"digest", facts.digest},
       {"bytes", page.size()},
       {"unverified", facts.unverified}});
  return absl::OkStatus();
}

struct AnalyseOptions : TextOptions {
  std::string model;
  std::string output;
};

Status AnalyseCommand(const AnalyseOptions& options, const std::string& worker,
                      const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const fs::path model,
                   cli::ExistingPath(options.model, "--model"));
  const fs::path output = fs::absolute(options.output).lexically_normal();
  std::error_code error;
  if (fs::exists(output, error)) {
    return AlreadyExists("{}: is there already; choose another --output",
                         output.string());
  }
  const fs::path partial = output.string() + ".partial";
  fs::remove_all(partial, error);
  RETURN_IF_ERROR(MakeDirectories(partial));
  ASSIGN_OR_RETURN(
      const Json analysis,
      Analyse(model, options, partial / "analysis.json", worker, context));
  ASSIGN_OR_RETURN(const std::vector<NamedPicture> pictures,
                   AnalysisPictures(analysis, PictureUse::kFile));
  for (const NamedPicture& picture : pictures) {
    RETURN_IF_ERROR(
        WriteFileAtomic(partial / (picture.name + ".svg"), picture.svg));
  }
  ASSIGN_OR_RETURN(const std::string page,
                   AnalysisPage(analysis, model.filename().string()));
  RETURN_IF_ERROR(WriteFileAtomic(partial / "analysis.html", page));
  fs::rename(partial, output, error);
  if (error) {
    return ErrnoStatus(error.value(), "rename to " + output.string());
  }
  const auto tokens = analysis["tokens"].get<int64_t>();
  context.output.Print(
      fmt::format("wrote {}: analysis.json, analysis.html and {} pictures of "
                  "{} tokens",
                  output.string(), pictures.size(), tokens),
      {{"output", output.string()},
       {"pictures", pictures.size()},
       {"tokens", tokens}});
  return absl::OkStatus();
}

}  // namespace

void AddReleaseReportCommand(cli::CommandLine& command_line, CLI::App& group,
                             const std::string& worker_name) {
  auto options = std::make_shared<ReportOptions>();
  CLI::App* command = command_line.AddCommand(
      group, "report", "One self-contained HTML page about a release",
      [options, worker_name](const cli::CommandContext& context) {
        return ReportCommand(*options, worker_name, context);
      });
  command
      ->add_option("name", options->name,
                   "Number, 'latest' or a release folder")
      ->capture_default_str();
  command->add_option("--output", options->output, "HTML file to write")
      ->required();
  auto* analysis = command->add_option(
      "--analysis", options->analysis,
      "Routing pictures from `model analyse` of this release");
  command->add_option("--comparison", options->comparison,
                      "Baselines: what `release compare` of this release "
                      "wrote");
  command->add_option("--signer", options->signer,
                      "Signer's certificate (default: this home's)");
  DeclareTexts(command, *options);
  analysis->excludes(command->get_option("--text"));
}

void AddAnalyseCommand(cli::CommandLine& command_line, CLI::App& group,
                       const std::string& worker_name) {
  auto options = std::make_shared<AnalyseOptions>();
  CLI::App* command = command_line.AddCommand(
      group, "analyse", "How a mixture routes texts: numbers and pictures",
      [options, worker_name](const cli::CommandContext& context) {
        return AnalyseCommand(*options, worker_name, context);
      });
  command
      ->add_option("--model", options->model,
                   "Release folder or Hugging Face mixture")
      ->required();
  command->add_option("--output", options->output, "Folder to make")
      ->required();
  DeclareTexts(command, *options);
  command->get_option("--text")->required();
}

}  // namespace tributary::coordinator

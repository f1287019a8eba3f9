#include "coordinator/commands/policy_commands.h"

#include <charconv>
#include <memory>

#include "common/base/exit_code.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/manifest/resource_name.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/message_json.h"

namespace tributary::coordinator {
namespace {

constexpr char kDefault[] = "default";

std::string ContributorName(const std::string& id) {
  return manifest::FullResourceName(manifest::Collection::kContributors, id);
}

std::string Describe(const v1::Contributor& contributor) {
  const v1::ContributorPolicy& policy = contributor.policy();
  const auto number = [](bool set, int64_t value) {
    return set ? std::to_string(value) : kDefault;
  };
  return fmt::format(
      "{}\n  state              {}\n  contributions      {}\n"
      "  bytes              {}\n  max width          {}\n"
      "  quota bytes        {}\n  max contributions  {}\n"
      "  operator decides   {}\n",
      contributor.name(), contributor.state(), contributor.live_contributions(),
      HumanBytes(static_cast<uint64_t>(contributor.reserved_bytes())),
      number(policy.has_max_width(), policy.max_width()),
      number(policy.has_max_bytes(), policy.max_bytes()),
      number(policy.has_max_contributions(), policy.max_contributions()),
      policy.has_require_operator()
          ? (policy.require_operator() ? "always" : "never")
          : kDefault);
}

Status ShowPolicy(const std::string& id, const cli::CommandContext& context) {
  v1::GetContributorRequest request;
  request.set_name(ContributorName(id));
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const v1::Contributor contributor,
      client->Call(client->admin(), &v1::AdminService::Stub::GetContributor,
                   request));
  context.output.Print(Describe(contributor), MessageJson(contributor));
  return absl::OkStatus();
}

// What was typed; empty: unchanged, "default": as the configuration says.
struct PolicyOptions {
  std::string id;
  std::string max_width;
  std::string quota_bytes;
  std::string max_contributions;
  std::string require_operator;
};

StatusOr<int64_t> ParseCount(const char* option, const std::string& text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (parsed.ec != std::errc() || parsed.ptr != end || value < 1) {
    return InvalidArgument("{}: got '{}', wanted a number from 1 on or default",
                           option, text);
  }
  return value;
}

Status SetPolicy(const PolicyOptions& options,
                 const cli::CommandContext& context) {
  v1::UpdateContributorPolicyRequest request;
  request.set_request_id(RandomUuid());
  request.set_name(ContributorName(options.id));
  v1::ContributorPolicy& policy = *request.mutable_policy();
  const struct {
    const char* option;
    const char* field;
    const std::string& text;
    void (v1::ContributorPolicy::*set)(int64_t);
  } limits[] = {
      {"--max-width", "max_width", options.max_width,
       &v1::ContributorPolicy::set_max_width},
      {"--quota-bytes", "max_bytes", options.quota_bytes,
       &v1::ContributorPolicy::set_max_bytes},
      {"--max-contributions", "max_contributions", options.max_contributions,
       &v1::ContributorPolicy::set_max_contributions}};
  for (const auto& limit : limits) {
    if (limit.text.empty()) {
      continue;
    }
    request.mutable_update_mask()->add_paths(limit.field);
    if (limit.text != kDefault) {
      ASSIGN_OR_RETURN(const int64_t value,
                       ParseCount(limit.option, limit.text));
      (policy.*limit.set)(value);
    }
  }
  if (!options.require_operator.empty()) {
    request.mutable_update_mask()->add_paths("require_operator");
    if (options.require_operator != kDefault) {
      policy.set_require_operator(options.require_operator == "yes");
    }
  }
  if (request.update_mask().paths().empty()) {
    return WithExitCode(
        InvalidArgument("contributor set-policy: name at least one limit"),
        ExitCode::kUsage);
  }
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const v1::Contributor contributor,
      client->Call(client->admin(),
                   &v1::AdminService::Stub::UpdateContributorPolicy, request));
  context.output.Print(Describe(contributor), MessageJson(contributor));
  return absl::OkStatus();
}

}  // namespace

void AddPolicyCommands(cli::CommandLine& command_line, CLI::App& group) {
  auto shown = std::make_shared<std::string>();
  CLI::App* show = command_line.AddCommand(
      group, "show", "A contributor, its policy and what it uses",
      [shown](const cli::CommandContext& context) {
        return ShowPolicy(*shown, context);
      });
  show->add_option("id", *shown, "Id of the contributor")->required();

  auto options = std::make_shared<PolicyOptions>();
  CLI::App* set = command_line.AddCommand(
      group, "set-policy",
      "Change what a contributor may do; 'default' follows the configuration",
      [options](const cli::CommandContext& context) {
        return SetPolicy(*options, context);
      });
  set->add_option("id", options->id, "Id of the contributor")->required();
  set->add_option("--max-width", options->max_width,
                  "Highest width in any layer, channels");
  set->add_option("--quota-bytes", options->quota_bytes,
                  "Bytes stored and in flight");
  set->add_option("--max-contributions", options->max_contributions,
                  "Contributions that are not withdrawn");
  set->add_option("--require-operator", options->require_operator,
                  "Whether what passes every gate waits for the operator")
      ->check(CLI::IsMember({"yes", "no", kDefault}));
}

}  // namespace tributary::coordinator

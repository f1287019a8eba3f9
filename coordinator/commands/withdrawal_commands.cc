#include "coordinator/commands/withdrawal_commands.h"

#include <memory>

#include "common/base/files.h"
#include "common/base/random.h"
#include "common/base/text.h"
#include "common/manifest/resource_name.h"
#include "coordinator/commands/admin_client.h"
#include "coordinator/commands/message_json.h"
#include "coordinator/commands/paged_list.h"

namespace tributary::coordinator {
namespace {

StatusOr<std::vector<v1::Withdrawal>> All(const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  return ListAll<v1::Withdrawal>(
      *client, client->admin(), &v1::AdminService::Stub::ListWithdrawals,
      [](const v1::ListWithdrawalsResponse& page) -> const auto& {
        return page.withdrawals();
      });
}

std::string Describe(const v1::Withdrawal& withdrawal) {
  std::string text = fmt::format(
      "{}\n  contribution  {}\n  state         {}\n  asked for     {}\n",
      withdrawal.name(), withdrawal.contribution(),
      v1::Withdrawal::State_Name(withdrawal.state()),
      FormatTime(static_cast<double>(withdrawal.create_time_s())));
  for (const std::string& release : withdrawal.withdrawn_releases()) {
    text += fmt::format("  not served    {}\n", release);
  }
  if (!withdrawal.new_release().empty()) {
    text += fmt::format("  replaced by   {}\n", withdrawal.new_release());
  }
  if (!withdrawal.requested_by().empty()) {
    text += fmt::format("  on behalf     {}: {}\n", withdrawal.requested_by(),
                        withdrawal.reason());
  }
  if (withdrawal.last_error().code() != 0) {
    text +=
        fmt::format("  last error    {}\n", withdrawal.last_error().message());
  }
  return text;
}

Status ListWithdrawals(const cli::CommandContext& context) {
  ASSIGN_OR_RETURN(const auto withdrawals, All(context));
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "STATE", "ASKED FOR", "NEW RELEASE"}};
  nlohmann::json values = nlohmann::json::array();
  for (const v1::Withdrawal& withdrawal : withdrawals) {
    rows.push_back(
        {withdrawal.name(), v1::Withdrawal::State_Name(withdrawal.state()),
         FormatTime(static_cast<double>(withdrawal.create_time_s())),
         withdrawal.new_release().empty() ? "-" : withdrawal.new_release()});
    values.push_back(MessageJson(withdrawal));
  }
  context.output.Print(cli::FormatTable(rows), {{"withdrawals", values}});
  return absl::OkStatus();
}

Status ShowWithdrawal(const std::string& name,
                      const cli::CommandContext& context) {
  const std::string full =
      manifest::FullResourceName(manifest::Collection::kWithdrawals, name);
  ASSIGN_OR_RETURN(const auto withdrawals, All(context));
  for (const v1::Withdrawal& withdrawal : withdrawals) {
    if (withdrawal.name() == full) {
      context.output.Print(Describe(withdrawal), MessageJson(withdrawal));
      return absl::OkStatus();
    }
  }
  return NotFound("{}: no such withdrawal; `withdrawal list` shows all", full);
}

struct CreateOptions {
  std::string name;
  std::string reason;
  std::string request;
};

constexpr uint64_t kMaxRequestBytes = 64 << 10;

Status Create(const CreateOptions& options,
              const cli::CommandContext& context) {
  v1::CreateWithdrawalRequest request;
  request.set_request_id(RandomUuid());
  request.set_contribution(manifest::FullResourceName(
      manifest::Collection::kContributions, options.name));
  request.set_reason(options.reason);
  if (!options.request.empty()) {
    ASSIGN_OR_RETURN(*request.mutable_signed_request_json(),
                     ReadFile(options.request, kMaxRequestBytes));
  }
  ASSIGN_OR_RETURN(const auto client, AdminClient::Connect(context.home));
  ASSIGN_OR_RETURN(
      const v1::Withdrawal withdrawal,
      client->Call(client->admin(), &v1::AdminService::Stub::CreateWithdrawal,
                   request));
  context.output.Print(Describe(withdrawal), MessageJson(withdrawal));
  return absl::OkStatus();
}

}  // namespace

void AddWithdrawalCommands(cli::CommandLine& command_line) {
  CLI::App& group = *command_line.AddGroup("withdrawal", "Opt-outs");
  command_line.AddCommand(group, "list", "All withdrawals, newest first",
                          ListWithdrawals);
  auto options = std::make_shared<CreateOptions>();
  CLI::App* create = command_line.AddCommand(
      group, "create", "Withdraw a contribution on its owner's behalf",
      [options](const cli::CommandContext& context) {
        return Create(*options, context);
      });
  create->add_option("name", options->name, "Name of the contribution")
      ->required();
  CLI::Option* reason = create->add_option(
      "--reason", options->reason, "Written into the receipt and audit log");
  create
      ->add_option("--request", options->request,
                   "The owner's signed request (`tributary-contributor "
                   "withdraw --request FILE`)")
      ->excludes(reason);
  auto name = std::make_shared<std::string>();
  CLI::App* show =
      command_line.AddCommand(group, "show", "A withdrawal and its receipts",
                              [name](const cli::CommandContext& context) {
                                return ShowWithdrawal(*name, context);
                              });
  show->add_option("name", *name, "Name of the contribution")->required();
}

}  // namespace tributary::coordinator

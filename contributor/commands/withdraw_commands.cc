#include <memory>

#include "common/base/files.h"
#include "common/base/text.h"
#include "common/manifest/withdrawal_request.h"
#include "contributor/client/receipts.h"
#include "contributor/commands/commands.h"
#include "contributor/commands/common.h"
#include "contributor/daemon/withdraw.h"

namespace tributary::contributor {
namespace {

struct WithdrawCommandOptions {
  std::string name;
  std::string file;
  std::string retry_for = "60s";
  std::string request_file;
  bool wait = false;
};

std::string Join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) {
    text += (text.empty() ? "" : ", ") + part;
  }
  return text.empty() ? "none" : text;
}

std::string Describe(const v1::Withdrawal& withdrawal) {
  std::string text =
      fmt::format("{} is {}; no longer served: {}", withdrawal.contribution(),
                  v1::Withdrawal::State_Name(withdrawal.state()),
                  Join({withdrawal.withdrawn_releases().begin(),
                        withdrawal.withdrawn_releases().end()}));
  if (!withdrawal.new_release().empty()) {
    text += "; replaced by " + withdrawal.new_release();
  }
  return text;
}

// A signed request instead of a call: for a site whose certificate has ended
// or that cannot reach the coordinator.
Status WriteRequest(const cli::CommandContext& context,
                    const WithdrawCommandOptions& options) {
  const Home home(context.home);
  ASSIGN_OR_RETURN(const Identity identity, LoadIdentity(home));
  ASSIGN_OR_RETURN(const config::ContributorConfig config,
                   LoadConfig(home, identity.contributor_id));
  const std::string contribution =
      options.name.empty() ? config.contribution() : options.name;
  const manifest::WithdrawalRequest request = {
      .federation = identity.federation,
      .contribution = contribution,
      .contributor = identity.contributor_id,
      .request_time_s = static_cast<int64_t>(SystemClock().NowSeconds())};
  ASSIGN_OR_RETURN(const std::string envelope,
                   manifest::SignWithdrawalRequest(request, identity.key));
  RETURN_IF_ERROR(WriteFileAtomic(options.request_file, envelope));
  context.output.Print(
      fmt::format("wrote {}: send it to the operator of federation {}, who "
                  "runs `tributary-coordinator withdrawal create {} --request "
                  "FILE`; anybody may see it",
                  options.request_file, identity.federation, contribution),
      {{"request", options.request_file}, {"contribution", contribution}});
  return absl::OkStatus();
}

Status RunWithdraw(const cli::CommandContext& context,
                   const WithdrawCommandOptions& options) {
  if (!options.request_file.empty()) {
    return WriteRequest(context, options);
  }
  ASSIGN_OR_RETURN(const auto session, OpenSession(context, options.retry_for));
  ASSIGN_OR_RETURN(const std::string contribution,
                   ContributionArgument(options.name, *session));
  const cli::Output& output = context.output;
  ASSIGN_OR_RETURN(
      const v1::Withdrawal withdrawal,
      Withdraw(session->Context(nullptr),
               {.contribution = contribution,
                .wait = options.wait ? WithdrawOptions::Wait::kUntilPurged
                                     : WithdrawOptions::Wait::kNo,
                .cancellation = &context.cancellation,
                .on_change = [&](const v1::Withdrawal& seen) {
                  output.Note(Describe(seen));
                }}));
  const Home& home = session->home();
  nlohmann::json value = ToJson(withdrawal);
  value["receipt"] = WithdrawalReceiptPath(home, contribution).string();
  std::string text = Describe(withdrawal) + "\nreceipt: " +
                     WithdrawalReceiptPath(home, contribution).string();
  if (withdrawal.final_receipt_json().empty()) {
    value["final_receipt"] = nullptr;
    text += "\nthe expert's bytes are to be deleted at " +
            FormatTime(static_cast<double>(withdrawal.purge_time_s()));
  } else {
    value["final_receipt"] = PurgeReceiptPath(home, contribution).string();
    text += "\npurge receipt: " + PurgeReceiptPath(home, contribution).string();
  }
  output.Print(text, value);
  return absl::OkStatus();
}

nlohmann::json References(
    const std::vector<manifest::ReleaseReference>& references) {
  nlohmann::json values = nlohmann::json::array();
  for (const auto& reference : references) {
    values.push_back({{"name", reference.name}, {"digest", reference.digest}});
  }
  return values;
}

std::string Names(const std::vector<manifest::ReleaseReference>& references) {
  std::vector<std::string> names;
  for (const auto& reference : references) {
    names.push_back(reference.name);
  }
  return Join(names);
}

void PrintReceipt(const cli::Output& output,
                  const manifest::WithdrawalReceipt& receipt) {
  std::string text = fmt::format(
      "The signature holds: federation {} withdrew contribution {} "
      "of {} at {}.\nNo longer served: {}\nPurge due: {}",
      receipt.federation, receipt.contribution, receipt.contributor,
      FormatTime(static_cast<double>(receipt.withdraw_time_s)),
      Names(receipt.withdrawn_releases),
      FormatTime(static_cast<double>(receipt.purge_time_s)));
  nlohmann::json value = {
      {"valid", true},
      {"kind", "withdrawal-receipt"},
      {"federation", receipt.federation},
      {"contribution", receipt.contribution},
      {"contributor", receipt.contributor},
      {"expert_blob", receipt.expert_blob.ToString()},
      {"withdrawn_releases", References(receipt.withdrawn_releases)},
      {"withdraw_time_s", receipt.withdraw_time_s},
      {"purge_time_s", receipt.purge_time_s},
      {"on_behalf", nullptr}};
  if (receipt.on_behalf) {
    text += fmt::format("\nAsked for by {}: {}", receipt.on_behalf->by,
                        receipt.on_behalf->reason);
    value["on_behalf"] = {{"by", receipt.on_behalf->by},
                          {"reason", receipt.on_behalf->reason}};
  }
  output.Print(text, value);
}

void PrintReceipt(const cli::Output& output,
                  const manifest::PurgeReceipt& receipt) {
  std::vector<std::string> deleted;
  for (const manifest::BlobName& blob : receipt.deleted_blobs) {
    deleted.push_back(blob.ToString());
  }
  nlohmann::json kept = nlohmann::json::array();
  for (const auto& blob : receipt.kept_blobs) {
    kept.push_back({{"blob", blob.blob.ToString()}, {"reason", blob.reason}});
  }
  nlohmann::json value = {
      {"valid", true},
      {"kind", "purge-receipt"},
      {"federation", receipt.federation},
      {"contribution", receipt.contribution},
      {"contributor", receipt.contributor},
      {"expert_blob", receipt.expert_blob.ToString()},
      {"deleted_blobs", deleted},
      {"kept_blobs", kept},
      {"withdrawn_releases", References(receipt.withdrawn_releases)},
      {"purge_time_s", receipt.purge_time_s},
      {"outside", receipt.outside}};
  value["new_release"] =
      receipt.new_release
          ? nlohmann::json{{"name", receipt.new_release->name},
                           {"digest", receipt.new_release->digest}}
          : nlohmann::json(nullptr);
  output.Print(
      fmt::format("The signature holds: federation {} deleted contribution {} "
                  "of {} at {}.\nDeleted: {}\nNo longer served: {}\n"
                  "Replaced by: {}\nNot covered: {}",
                  receipt.federation, receipt.contribution, receipt.contributor,
                  FormatTime(static_cast<double>(receipt.purge_time_s)),
                  Join(deleted), Names(receipt.withdrawn_releases),
                  receipt.new_release ? receipt.new_release->name : "nothing",
                  Join(receipt.outside)),
      value);
}

Status Verify(const cli::CommandContext& context,
              const WithdrawCommandOptions& options) {
  ASSIGN_OR_RETURN(const Identity identity, LoadIdentity(Home(context.home)));
  ASSIGN_OR_RETURN(const std::string text, ReadFile(options.file, 64 << 20));
  StatusOr<VerifiedReceipt> receipt = VerifyReceipt(text, identity);
  if (!receipt.ok()) {
    return Annotate(receipt.status(), options.file);
  }
  if (receipt->withdrawal) {
    PrintReceipt(context.output, *receipt->withdrawal);
  } else {
    PrintReceipt(context.output, *receipt->purge);
  }
  return absl::OkStatus();
}

}  // namespace

void AddWithdrawCommands(cli::CommandLine& line) {
  auto options = std::make_shared<WithdrawCommandOptions>();
  CLI::App* withdraw = line.AddCommand(
      line.app(), "withdraw",
      "Opt out: releases with the expert are no longer served, its bytes are "
      "deleted",
      [options](const cli::CommandContext& context) {
        return RunWithdraw(context, *options);
      });
  withdraw->add_option("name", options->name,
                       "Contribution (default: the configured one)");
  withdraw->add_flag("--wait", options->wait,
                     "Wait until the bytes are deleted");
  withdraw->add_option(
      "--request", options->request_file,
      "Write a signed request for the operator to this file instead of calling "
      "the coordinator");
  DeclareRetry(*withdraw, options->retry_for);
  CLI::App& group = *line.AddGroup("withdrawal", "Proofs of withdrawals");
  CLI::App* verify =
      line.AddCommand(group, "verify", "Check a receipt without a network",
                      [options](const cli::CommandContext& context) {
                        return Verify(context, *options);
                      });
  verify->add_option("file", options->file, "Receipt")->required();
}

}  // namespace tributary::contributor

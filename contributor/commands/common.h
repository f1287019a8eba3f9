#pragma once

// What the contributor's commands share.

#include <memory>
#include <string>
#include <vector>

#include "common/cli/command_line.h"
#include "common/cli/progress.h"
#include "contributor/pipeline/losses.h"
#include "contributor/pipeline/session.h"

namespace tributary::contributor {

// How long a command tries to reach the coordinator unless it is told.
inline constexpr char kShortRetry[] = "5s";

// Seconds of a duration such as "5s"; 0, which never gives up, of "forever".
StatusOr<double> ParseRetry(const std::string& retry_for);

// A session for one command; `retry_for` as ParseRetry.
StatusOr<std::unique_ptr<Session>> OpenSession(
    const cli::CommandContext& context, const std::string& retry_for);

// Declares --retry-for.
void DeclareRetry(CLI::App& command, std::string& retry_for);

// A sink that draws on `bar`.
StageProgress ProgressOn(cli::ProgressBar& bar);

nlohmann::json ToJson(const v1::Contribution& contribution);
nlohmann::json ToJson(const v1::Withdrawal& withdrawal);
nlohmann::json ToJson(const v1::Release& release);
// `contribution` is the label under which own text is reported.
nlohmann::json ToJson(const std::vector<MeasuredLoss>& losses,
                      const std::string& contribution);

// A table of models and texts with differences to the anchor.
std::string LossTable(const std::vector<MeasuredLoss>& losses);

// The name without "contributions/", or the configured one when `name` is
// empty. INVALID_ARGUMENT for anything else.
StatusOr<std::string> ContributionArgument(const std::string& name,
                                           const Session& session);

}  // namespace tributary::contributor

#pragma once

// What finished commands on explicit files print.

#include <string>

#include "common/cli/command_line.h"
#include "nlohmann/json.hpp"
#include "tributary/job/job.pb.h"

namespace tributary::contributor {

// "wrote OUTPUT", or the facts with it.
inline void PrintWritten(const cli::CommandContext& context,
                         const std::string& output, nlohmann::json facts) {
  facts["output"] = output;
  context.output.Print("wrote " + output, facts);
}

inline nlohmann::json ExportFacts(const job::ExportExpertResult& result) {
  return {{"widths", std::vector<int64_t>(result.widths().begin(),
                                          result.widths().end())},
          {"parameters", result.parameters()},
          {"size_bytes", result.size_bytes()}};
}

// The result of the last task, or of one `back` from it.
inline const job::TaskResult& Last(const job::Result& result, int back = 0) {
  return result.tasks(result.tasks_size() - 1 - back);
}

}  // namespace tributary::contributor

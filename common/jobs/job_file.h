#pragma once

// Job and result files: the JSON form of the messages in
// proto/tributary/job/job.proto. Unknown fields are errors.

#include <filesystem>
#include <string>

#include "common/base/status.h"
#include "tributary/job/job.pb.h"

namespace tributary::jobs {

inline constexpr const char* kJobFileName = "job.json";
inline constexpr const char* kResultFileName = "result.json";

// INVALID_ARGUMENT names the file and what is wrong in it.
StatusOr<job::Job> ReadJob(const std::filesystem::path& path);
StatusOr<job::Result> ReadResult(const std::filesystem::path& path);

// Atomic and durable.
Status WriteJob(const job::Job& job, const std::filesystem::path& path);
Status WriteResult(const job::Result& result,
                   const std::filesystem::path& path);

// One line of the progress pipe, without its newline.
std::string FormatProgress(const job::Progress& progress);
StatusOr<job::Progress> ParseProgress(const std::string& line);

// The name of a task's kind, for example "train".
std::string TaskName(const job::Task& task);

// The status that a result stands for.
Status ResultStatus(const job::Result& result);

}  // namespace tributary::jobs

#include "common/jobs/job_file.h"

#include "common/base/files.h"
#include "google/protobuf/util/json_util.h"

namespace tributary::jobs {
namespace {

namespace util = google::protobuf::util;

constexpr uint64_t kMaxFileBytes = 64ull << 20;

template <typename Message>
StatusOr<Message> FromJson(const std::string& text, const std::string& what) {
  Message message;
  const auto status = util::JsonStringToMessage(text, &message);
  if (!status.ok()) {
    return InvalidArgument("{}: got JSON that is no {}: {}", what,
                           Message::descriptor()->full_name(),
                           std::string(status.message()));
  }
  return message;
}

template <typename Message>
std::string ToJson(const Message& message, bool pretty) {
  util::JsonPrintOptions options;
  options.add_whitespace = pretty;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status = util::MessageToJsonString(message, &text, options);
  return status.ok() ? text : std::string("{}");
}

template <typename Message>
StatusOr<Message> Read(const std::filesystem::path& path) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxFileBytes));
  return FromJson<Message>(text, path.string());
}

}  // namespace

StatusOr<job::Job> ReadJob(const std::filesystem::path& path) {
  return Read<job::Job>(path);
}

StatusOr<job::Result> ReadResult(const std::filesystem::path& path) {
  return Read<job::Result>(path);
}

Status WriteJob(const job::Job& job, const std::filesystem::path& path) {
  return WriteFileAtomic(path, ToJson(job, true));
}

Status WriteResult(const job::Result& result,
                   const std::filesystem::path& path) {
  return WriteFileAtomic(path, ToJson(result, true));
}

std::string FormatProgress(const job::Progress& progress) {
  return ToJson(progress, false);
}

StatusOr<job::Progress> ParseProgress(const std::string& line) {
  return FromJson<job::Progress>(line, "progress line");
}

std::string TaskName(const job::Task& task) {
  const auto* field =
      job::Task::descriptor()->FindFieldByNumber(task.kind_case());
  return field == nullptr ? "nothing" : field->name();
}

Status ResultStatus(const job::Result& result) {
  return Status(static_cast<absl::StatusCode>(result.code()), result.message());
}

}  // namespace tributary::jobs

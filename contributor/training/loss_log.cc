#include "contributor/training/loss_log.h"

#include <fcntl.h>

#include <string>

namespace tributary::contributor {

StatusOr<LossLog> LossLog::Open(const std::filesystem::path& path,
                                int64_t step) {
  std::string kept;
  if (const auto content = ReadFile(path); content.ok()) {
    size_t begin = 0;
    for (size_t end = content->find('\n'); end != std::string::npos;
         begin = end + 1, end = content->find('\n', begin)) {
      const std::string line = content->substr(begin, end - begin);
      const auto value = nlohmann::json::parse(line, nullptr, false);
      if (!value.is_object() || !value.contains("step") ||
          !value["step"].is_number_integer() ||
          value["step"].get<int64_t>() > step) {
        break;
      }
      kept += line + "\n";
    }
  }
  if (step == 0) {
    kept.clear();
  }
  RETURN_IF_ERROR(WriteFileAtomic(path, kept));
  LossLog log;
  ASSIGN_OR_RETURN(log.file_, OpenFile(path, O_WRONLY));
  log.size_ = kept.size();
  return log;
}

Status LossLog::Append(const nlohmann::ordered_json& line) {
  const std::string text = line.dump() + "\n";
  RETURN_IF_ERROR(WriteAll(file_, text, size_));
  size_ += text.size();
  return absl::OkStatus();
}

}  // namespace tributary::contributor

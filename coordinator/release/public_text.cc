#include "coordinator/release/public_text.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "common/base/files.h"
#include "common/base/json.h"
#include "common/base/text.h"
#include "common/manifest/resource_name.h"

namespace tributary::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTextBytes = 1ull << 30;

bool IsTextFile(const fs::path& path) {
  return path.extension() == ".txt" || path.extension() == ".jsonl";
}

StatusOr<std::vector<fs::path>> ListFiles(const fs::path& source) {
  std::error_code error;
  if (!fs::exists(source, error)) {
    return NotFound("{}: no such file or folder", source.string());
  }
  if (!fs::is_directory(source, error)) {
    if (!IsTextFile(source)) {
      return InvalidArgument("{}: wanted a .txt or .jsonl file or a folder",
                             source.string());
    }
    return std::vector<fs::path>{source};
  }
  std::vector<fs::path> files;
  for (fs::recursive_directory_iterator entry(source, error), end;
       !error && entry != end; entry.increment(error)) {
    if (entry->is_regular_file(error) && IsTextFile(entry->path())) {
      files.push_back(entry->path());
    }
  }
  if (error) {
    return ErrnoStatus(error.value(), "list " + source.string());
  }
  std::sort(files.begin(), files.end());
  return files;
}

StatusOr<std::string> ReadUtf8(const fs::path& file) {
  ASSIGN_OR_RETURN(std::string content, ReadFile(file, kMaxTextBytes));
  if (const auto offset = FirstInvalidUtf8(content)) {
    return InvalidArgument(
        "{}: byte {} is not UTF-8; convert the file, for example with iconv",
        file.string(), *offset);
  }
  return content;
}

Status AppendDocument(const std::string& text, std::string& out,
                      int64_t& documents) {
  if (text.find_first_not_of(" \t\r\n") == std::string::npos) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::string line, DumpJson({{"text", text}}));
  out += line;
  out += '\n';
  ++documents;
  return absl::OkStatus();
}

Status AppendJsonLines(const fs::path& file, std::string_view content,
                       std::string& out, int64_t& documents) {
  int64_t number = 0;
  while (!content.empty()) {
    const size_t end = std::min(content.find('\n'), content.size());
    const std::string_view line = content.substr(0, end);
    content.remove_prefix(std::min(end + 1, content.size()));
    ++number;
    if (line.find_first_not_of(" \t\r") == line.npos) {
      continue;
    }
    const StatusOr<Json> json = ParseJson(line);
    if (!json.ok()) {
      return Annotate(json.status(),
                      fmt::format("{}:{}", file.string(), number));
    }
    if (!json->is_object() || !json->contains("text") ||
        !(*json)["text"].is_string()) {
      return InvalidArgument(
          "{}:{}: wanted an object with a string field \"text\"", file.string(),
          number);
    }
    RETURN_IF_ERROR(
        AppendDocument((*json)["text"].get<std::string>(), out, documents));
  }
  return absl::OkStatus();
}

}  // namespace

StatusOr<int64_t> CollectPublicText(const fs::path& source,
                                    const fs::path& target) {
  ASSIGN_OR_RETURN(const std::vector<fs::path> files, ListFiles(source));
  std::string out;
  int64_t documents = 0;
  for (const fs::path& file : files) {
    ASSIGN_OR_RETURN(const std::string content, ReadUtf8(file));
    RETURN_IF_ERROR(file.extension() == ".jsonl"
                        ? AppendJsonLines(file, content, out, documents)
                        : AppendDocument(content, out, documents));
  }
  if (documents == 0) {
    return InvalidArgument("{}: holds no document", source.string());
  }
  RETURN_IF_ERROR(WriteFileAtomic(target, out));
  return documents;
}

Status CheckTextClasses(const std::vector<PublicTextSource>& sources) {
  std::set<std::string> classes;
  for (const PublicTextSource& source : sources) {
    RETURN_IF_ERROR(manifest::CheckId("public text class", source.text_class));
    if (!classes.insert(source.text_class).second) {
      return InvalidArgument(
          "public text class {} is named twice; put its files into one folder",
          source.text_class);
    }
  }
  for (const char* wanted : {"prose", "heldout"}) {
    if (!classes.contains(wanted)) {
      return InvalidArgument(
          "public text class {} is missing: prose is what the anchor should "
          "keep, heldout is for evaluation; every other class is background",
          wanted);
    }
  }
  return absl::OkStatus();
}

}  // namespace tributary::coordinator
